"""Values of events as an accumulator keeps them: scalars as they are, JSON as canonical text, all of them bounded."""

from hashlib import blake2b
from typing import Any

import msgspec

from streamflow.errors import EventError
from streamflow.model.schema import FieldType

#: Texts, and JSON as text, that `first`, `last` and `collect` keep; longer ones make their event a dead letter.
KEPT_MAX_CHARS = 65_536

_canonical = msgspec.json.Encoder(order="deterministic").encode


def kept_text(text: str) -> str:
    """The text. Raises EventError(`value_too_large`) when it is too long to be kept."""
    if len(text) > KEPT_MAX_CHARS:
        raise EventError("value_too_large", f"a value of {len(text)} characters; a window keeps {KEPT_MAX_CHARS}")
    return text


def json_text(value: Any) -> str:
    """Canonical JSON of a value: keys in order, no white space, so that equal values have equal texts."""
    return _canonical(value).decode()


def kept_json(value: Any) -> str:
    """The same, bounded as `kept_text`."""
    return kept_text(json_text(value))


def json_value(text: str | None) -> Any:
    """What `json_text` was made of; None of None."""
    return None if text is None else msgspec.json.decode(text)


def abbreviated(text: str, limit_chars: int) -> str:
    """The text; of a longer one its beginning and 128 bits of its hash, `limit_chars` (> 33) in all.

    Different texts stay different, but for a chance of 2^-64 after 2^64 texts.
    """
    if len(text) <= limit_chars:
        return text
    return f"{text[: limit_chars - 33]}…{blake2b(text.encode(), digest_size=16).hexdigest()}"


def lifted_text(function: str, limit_chars: int) -> str:
    """Lift of texts: `function` is called for long ones only, which spares a call per event."""
    return f"(y if len(y := {{v}}) <= {limit_chars} else {function}(y))"


def kept(argument: FieldType) -> tuple[str, dict[str, Any]]:
    """(lift, its names) of values that are kept as they are."""
    match argument:
        case FieldType.STR:
            return lifted_text("kept_text", KEPT_MAX_CHARS), {"kept_text": kept_text}
        case FieldType.JSON:
            return "kept_json({v})", {"kept_json": kept_json, "json_value": json_value}
        case _:
            return "", {}
