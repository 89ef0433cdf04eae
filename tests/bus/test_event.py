"""Events of the bus are CloudEvents."""

import json
from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from streamflow.bus.event import BusEvent


def test_an_event_is_a_cloud_event() -> None:
    event = BusEvent(
        id="1",
        source="http://worker",
        type="NODE_STATE_CHANGED",
        subject="flights/hourly",
        time=datetime(2026, 1, 2, tzinfo=UTC),
    )
    body = json.loads(event.encode())
    assert body["specversion"] == "1.0"
    assert body["time"] == "2026-01-02T00:00:00Z"
    assert body["datacontenttype"] == "application/json"


def test_types_are_words_in_capitals() -> None:
    with pytest.raises(ValidationError):
        BusEvent(id="1", source="x", type="changed", subject="s", time=datetime.now(UTC))
