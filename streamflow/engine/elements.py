"""Elements of a list in a json field, as values or structs of declared types."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from streamflow.errors import EventError
from streamflow.model.codec import misfit, time_ms
from streamflow.model.schema import FieldType, python_type
from streamflow.nodes.operators import Unfold


def elements_of(unfold: Unfold) -> Callable[[Any], Sequence[Any]]:
    """A function from a decoded value to its elements, typed. It raises EventError(`elements`)."""
    field, times = unfold.element.fields[0], () if unfold.plain else unfold.element.times
    kind: Any = list[python_type(field, text_times=True)]  # type: ignore[misc]
    if not unfold.plain:
        kind = list[unfold.element.struct_type(text_times=True)]  # type: ignore[misc]
    plain_times = unfold.plain and field.type is FieldType.TIMESTAMP

    def elements(value: Any) -> Sequence[Any]:
        if value is None:
            return ()
        if value.__class__ is list and len(value) > unfold.max_rows:
            raise EventError("elements", f"the list has {len(value)} elements, at most {unfold.max_rows} are taken")
        try:
            found: list[Any] = msgspec.convert(value, kind)
            if plain_times:
                return [time_ms(each) if each.__class__ is str else each for each in found]
            for element in found if times else ():
                for name in times:
                    text = getattr(element, name)
                    if text.__class__ is str:
                        setattr(element, name, time_ms(text))
        except (msgspec.ValidationError, ValueError) as error:
            raise EventError("elements", f"{unfold.elements.source}: {misfit(error)}") from error
        return found

    return elements
