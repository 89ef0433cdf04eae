"""The queue of events: bounded, and loud about what it could not take."""

import logging

import pytest

from streamflow.bus.event_types import EventType, Severity
from streamflow.bus.log import NO_EVENTS, QueuedEvents
from streamflow.errors import InternalError
from streamflow.plan.planner import make_plan
from streamflow.topology.yaml_file import parse_topology


def _stopped(log: QueuedEvents, worker: str) -> str:
    return log.emit(EventType.WORKER_STOPPED, "flights", {"worker": worker})


def test_events_wait_in_order_with_everything_that_was_said() -> None:
    woken: list[int] = []
    log = QueuedEvents("http://w", "ann", wake=lambda: woken.append(1))
    first = _stopped(log, "a")
    log.emit(
        EventType.DATA_AVAILABLE,
        "flights/hourly",
        {"topic": "t", "partition": 1, "offset": 7},
        actor="bob",
        causation=first,
        correlation="c",
        position=("t", 1, 7),
        key="execution-1",
        severity=Severity.DEBUG,
    )
    stopped, data = log.take(10)
    assert len(woken) == 2
    assert (stopped.id, stopped.actor, stopped.partitionkey, stopped.topology) == (first, "ann", "flights", "flights")
    assert (data.actor, data.causationid, data.correlationid) == ("bob", first, "c")
    assert (data.position, data.partitionkey, data.node, data.severity) == (
        "t/1/7",
        "execution-1",
        "hourly",
        Severity.DEBUG,
    )
    assert log.take(10) == []


def test_what_finds_no_room_is_counted_and_said(caplog: pytest.LogCaptureFixture) -> None:
    log = QueuedEvents("http://w", max_events=3)
    with caplog.at_level(logging.ERROR):
        ids = [_stopped(log, str(i)) for i in range(10)]
    assert [bool(each) for each in ids] == [True] * 3 + [False] * 7
    assert len(caplog.records) == 1, "said once, not once per event"
    assert log.lost_count == 7
    taken = log.take(2)
    assert [event.type for event in taken] == ["WORKER_STOPPED", "WORKER_STOPPED", "EVENTS_LOST"]
    assert taken[2].data == {"counts": {"WORKER_STOPPED": 7}}
    assert taken[2].severity is Severity.ERROR
    assert [event.data for event in log.take(9)] == [{"worker": "2"}], "said once on the bus too"


def test_wrong_data_is_a_mistake_of_the_program_even_when_the_queue_is_full() -> None:
    with pytest.raises(InternalError):
        QueuedEvents("w", max_events=0).emit(EventType.WORKER_STOPPED, "t", {})


def test_where_events_are_off_nothing_is_taken() -> None:
    assert NO_EVENTS.emit(EventType.WORKER_STOPPED, "t", {"worker": "w"}) == ""


def test_fields_that_a_schema_marks_are_masked() -> None:
    spec = parse_topology(
        """
        topology: t
        schemas: {Payment: {time: timestamp, iban: str? secret, amount: int}, Person: {name: str secret}}
        nodes:
          paid: {kind: source, topic: paid, schema: Payment, event_time: time}
          out: {kind: sink, input: paid, topic: out}
        """
    )
    assert spec.secret_fields == {"iban", "name"}
    assert [str(field) for field in make_plan(spec).stages[0].entries[0].schema.fields][1] == "iban: str?"
    log = QueuedEvents("w", secret_fields=spec.secret_fields)
    parameters = {"iban": "DE12", "amount": 5, "payer": [{"name": "Ann", "token": "x"}]}
    log.emit(EventType.EXECUTION_STARTED, "t", {"execution": "e", "version": 1, "parameters": parameters})
    masked = {"iban": "***", "amount": 5, "payer": [{"name": "***", "token": "***"}]}
    assert log.take(1)[0].data["parameters"] == masked
