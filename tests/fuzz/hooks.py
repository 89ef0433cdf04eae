"""What schemathesis does not know by itself: bodies of one JSON value per line."""

import json
from typing import Any

import schemathesis


def lines(_context: Any, value: Any) -> bytes:
    """Each element on a line of its own."""
    return b"\n".join(json.dumps(each).encode() for each in (value if isinstance(value, list) else [value]))


schemathesis.serializer("application/x-ndjson")(lines)
