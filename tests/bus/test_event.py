"""Events of the bus are CloudEvents, and every type has a model of its data."""

import json
from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from streamflow.bus.event import BusEvent, new_event, plain_event
from streamflow.bus.event_types import EventType, Severity, checked, models, schema_name
from streamflow.bus.masking import masked
from streamflow.errors import EventError, InternalError


def test_an_event_is_a_cloud_event_and_reads_back() -> None:
    event = BusEvent(
        id="1",
        source="http://worker",
        type="NODE_STATE_CHANGED",
        subject="flights/hourly",
        time=datetime(2026, 1, 2, tzinfo=UTC),
        severity=Severity.WARNING,
        data={"new": "RUNNING"},
    )
    body = json.loads(event.encode())
    assert body == {
        "specversion": "1.0",
        "id": "1",
        "source": "http://worker",
        "type": "NODE_STATE_CHANGED",
        "subject": "flights/hourly",
        "time": "2026-01-02T00:00:00.000Z",
        "datacontenttype": "application/json",
        "severity": "warning",
        "data": {"new": "RUNNING"},
    }
    assert BusEvent.decode(event.encode()) == event
    assert plain_event(event.encode()) == body
    assert (event.topology, event.node) == ("flights", "hourly")


def test_attribute_names_are_those_that_cloud_events_allows() -> None:
    assert all(name.isalnum() and name.islower() for name in BusEvent.model_fields)


def test_types_are_words_in_capitals() -> None:
    with pytest.raises(ValidationError):
        BusEvent(id="1", source="x", type="changed", subject="s", time=datetime.now(UTC))


@pytest.mark.parametrize("value", [b"", b"{}", b"[1]", b'{"specversion":"2.0"}', b"\xff"])
def test_what_is_no_event_is_refused(value: bytes) -> None:
    with pytest.raises(EventError):
        BusEvent.decode(value)
    assert plain_event(value) == {}


def test_every_type_has_a_documented_versioned_model() -> None:
    assert set(models()) == set(EventType)
    for kind, (version, model) in models().items():
        assert version >= 1
        assert model.__doc__
        assert model.model_json_schema()["additionalProperties"] is False, kind


def test_data_must_be_of_its_type() -> None:
    schema, data = checked(EventType.WORKER_STOPPED, {"worker": "http://w"})
    assert (schema, data) == (schema_name(EventType.WORKER_STOPPED), {"worker": "http://w"})
    for wrong in ({}, {"worker": 1}, {"worker": "w", "more": 1}):
        with pytest.raises(InternalError, match="WORKER_STOPPED"):
            checked(EventType.WORKER_STOPPED, wrong)


def test_two_events_never_have_one_id() -> None:
    made = [new_event("s", EventType.SCALED, "t", "", {}) for _ in range(1_000)]
    assert len({event.id for event in made}) == 1_000


def test_secrets_are_masked_at_any_depth() -> None:
    data = {
        "user": "ann",
        "password": "x1",
        "nested": {"Api-Key": "x2", "list": [{"sasl_password": "x3", "plain": 1}], "iban": "x4"},
        "empty_token": None,
    }
    made = masked(data, frozenset({"iban"}))
    assert not any(secret in json.dumps(made) for secret in ("x1", "x2", "x3", "x4"))
    assert made["user"] == "ann"
    assert made["nested"]["list"][0]["plain"] == 1
