"""Every option of every kind takes its bounds and nothing beyond them, no other type, and is named when it is missing."""

from collections.abc import Iterator
from typing import Annotated, Any

import pytest
from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from streamflow.nodes.kind import NodeConfig
from streamflow.nodes.registry import KINDS


def _models(model: type[NodeConfig]) -> Iterator[type[NodeConfig]]:
    """A configuration and those that its options are made of."""
    yield model
    for option in model.model_fields.values():
        for part in _parts(option.annotation):
            if isinstance(part, type) and issubclass(part, NodeConfig):
                yield from _models(part)


def _parts(annotation: Any) -> Iterator[Any]:
    yield annotation
    for part in getattr(annotation, "__args__", ()):
        yield from _parts(part)


_MODELS = sorted(
    {each for name in KINDS for each in _models(KINDS[name].config_type)}, key=lambda model: model.__name__
)
_OPTIONS = {f"{model.__name__}.{name}": info for model in _MODELS for name, info in model.model_fields.items()}


def _bounds(info: FieldInfo) -> dict[str, Any]:
    """Bounds of a number by the names that pydantic has for them; texts and lists have bounds of their length."""
    found = ((name, getattr(each, name, None)) for each in info.metadata for name in ("ge", "le", "gt"))
    return {name: bound for name, bound in found if bound is not None}


def _takes(info: FieldInfo, value: Any) -> bool:
    try:
        kind: Any = Annotated[info.annotation, *info.metadata]
        TypeAdapter(kind, config={"strict": True}).validate_python(value)
    except ValidationError:
        return False
    return True


@pytest.mark.parametrize("option", [name for name, info in _OPTIONS.items() if _bounds(info)])
def test_bounds_belong_to_what_is_taken(option: str) -> None:
    info = _OPTIONS[option]
    step = 1 if int in list(_parts(info.annotation)) else 1e-6
    for name, bound in _bounds(info).items():
        beyond = {"ge": bound - step, "le": bound + step, "gt": bound}[name]
        assert (_takes(info, bound), _takes(info, beyond)) == (name != "gt", False)
    assert not _takes(info, True), "true is no number"


def test_there_are_bounds() -> None:
    assert len([info for info in _OPTIONS.values() if _bounds(info)]) > 50


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_every_option_that_is_missing_or_wrong_is_named_at_once(kind: Any) -> None:
    required = {info.alias or name for name, info in kind.config_type.model_fields.items() if info.is_required()}
    with pytest.raises(ValidationError) as caught:
        kind.config_type.model_validate({"no_such_option": 1})
    assert {str(each["loc"][0]) for each in caught.value.errors()} >= required | {"no_such_option"}
    flags = [info.alias or name for name, info in kind.config_type.model_fields.items() if info.annotation is bool]
    for flag in flags:
        with pytest.raises(ValidationError, match=flag):
            kind.config_type.model_validate({**kind.example, flag: "yes"})
