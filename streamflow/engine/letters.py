"""Dead letters: records that cannot be used leave for the topology's dead-letter topic, with where and why.

The letter keeps the original key and value byte for byte, so that it can be published again as it was; what is known
about it is in the headers:

    sf-reason  of the record     decode | null_key | event_time_ahead | event_time_behind | too_large
               of an expression  expression | unresolved | elements | missing_row
               of a bound        too_many_windows | too_many_rows | value_too_large | state_full | approvals_full
               of a result       overflow | aggregate_result | model_input | model | model_output
               of a call         timeout | unreachable | circuit_open | status | response | certificate | address | host
                                 | url | header | unresolved
               of others' code and databases   process | refused
    sf-error   message          sf-blame  user | external | internal
    sf-class   transient | permanent | system | user
    sf-node    node at fault    sf-node-version  its kind and version       sf-version  version of the topology
    sf-stack   `module:line function` per frame of what raised, below the generated code, innermost last
    sf-state   SHA-256 of what the node remembered of the key, as the changelog has it; of nodes of a person's code
    sf-topic, sf-partition, sf-offset   where the record is                 sf-time  when it was written first, ms
    sf-attempts  how often it has failed, this time included                sf-letter  the letter it was redriven from
    sf-event-time, sf-distance-ms       of a time too far from its record's: what it was, and how far, in ms
    sf-calls, sf-target, sf-status      of a call to the outside: attempts, whom it went to, what it answered
    sf-headers-dropped  how many headers of the record were left out: together they exceed their bound

Headers of the record that are not ours follow as they were.
"""

from collections.abc import Sequence
from types import TracebackType

from streamflow.checkpoint.checkpoint import Output
from streamflow.errors import EventError
from streamflow.model.chunk import Record
from streamflow.model.letter import ATTEMPTS, LETTER, TIME, redriven_time
from streamflow.nodes.registry import KINDS
from streamflow.nodes.sink_operators import Deliver
from streamflow.plan.plan import EntryKind, Plan, Stage

Headers = tuple[tuple[str, bytes], ...]

#: How the file names of generated modules begin.
GENERATED = "<streamflow stage "
#: Bound of the message in `sf-error`.
ERROR_MAX_CHARS = 1_000
#: Frames in `sf-stack`, the innermost ones.
STACK_MAX_FRAMES = 20
_FRAME_MAX_CHARS = 150
#: Names and values of the record's own headers together.
HEADERS_MAX_BYTES = 8 << 10


class Letters:
    """Writes the letters of one stage."""

    def __init__(self, plan: Plan, stage: Stage) -> None:
        kinds = {entry.node: "source" if entry.kind is EntryKind.SOURCE else "key_by" for entry in stage.entries}
        kinds |= {node.name: node.kind for node in stage.nodes}
        for node in stage.nodes:
            if isinstance(node.operator, Deliver):
                kinds[stage.entries[0].node] = node.kind
        version = ("sf-version", b"%d" % plan.version)
        self._versions: dict[str, Headers] = {
            node: (("sf-node-version", f"{kind}@{KINDS[kind].version}".encode()), version)
            for node, kind in kinds.items()
            if kind in KINDS
        }

    def of_record(
        self, record: Record, topic: str, partition: int, node: str, error: EventError, more: Headers = ()
    ) -> Output:
        """Dead letter of an input record; `more` headers say what is particular to its reason."""
        ours = dict(record.headers)
        headers = (
            *self._headers(node, error),
            ("sf-topic", topic.encode()),
            ("sf-partition", b"%d" % partition),
            ("sf-offset", b"%d" % record.offset),
            (TIME, b"%d" % redriven_time(ours, record.timestamp_ms)),
            (ATTEMPTS, b"%d" % (_number(ours.get(ATTEMPTS, b"")) + 1)),
            *((LETTER, ours[LETTER]) for _ in range(LETTER in ours)),
            *more,
            *_kept(record.headers),
        )
        return record.key, record.value, headers

    def of_row(self, row: bytes, node: str, error: EventError) -> Output:
        """Dead letter of a row that has no record of its own (a window's result): the value is the row as JSON."""
        return None, row, self._headers(node, error)

    def _headers(self, node: str, error: EventError) -> Headers:
        stack = stack_of(error)
        return (
            *_said(node, error),
            *self._versions.get(node, ()),
            *((("sf-stack", stack.encode(errors="replace")),) if stack else ()),
            *error.details,
            *((("sf-state", error.state_digest.encode()),) if error.state_digest else ()),
        )


def result_letter(row: bytes, node: str, reason: str, message: str) -> Output:
    """Dead letter of a result that its topic does not take: the value is its beginning."""
    return None, row, _said(node, EventError(reason, message))


def late_headers(node: str, time_ms: int, distance_ms: int) -> Headers:
    """Headers of a row that came too late for its windows: by how much, in ms of event time."""
    return (
        ("sf-reason", b"late"),
        ("sf-node", node.encode()),
        ("sf-event-time", b"%d" % time_ms),
        ("sf-late-ms", b"%d" % distance_ms),
    )


def incomplete_headers(node: str, missing: Sequence[str]) -> Headers:
    """Headers of a combination whose time-out is over: the inputs that it lacks, separated by commas."""
    return (
        ("sf-reason", b"incomplete"),
        ("sf-node", node.encode()),
        ("sf-missing", ",".join(missing).encode()),
    )


def stack_of(error: BaseException) -> str:
    """The frames of what raised, of the first cause, innermost last. Empty when nothing was raised.

    Generated code is one line, and nothing above it counts: it depends on what is fused.
    """
    seen = {id(error)}
    while error.__cause__ is not None and id(error.__cause__) not in seen:
        error = error.__cause__
        seen.add(id(error))
    frames: list[str] = []
    trace: TracebackType | None = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        if code.co_filename.startswith(GENERATED):
            frames = [code.co_filename[1:-1]]
        else:
            module = trace.tb_frame.f_globals.get("__name__", "")
            frames.append(f"{module}:{trace.tb_lineno} {code.co_name}"[:_FRAME_MAX_CHARS])
        trace = trace.tb_next
    return "\n".join(frames[-STACK_MAX_FRAMES:])


def _said(node: str, error: EventError) -> Headers:
    message = str(error)
    text = message if len(message) <= ERROR_MAX_CHARS else message[: ERROR_MAX_CHARS - 1] + "…"
    return (
        ("sf-reason", error.reason.encode()),
        ("sf-error", text.encode(errors="replace")),
        ("sf-blame", error.blame.value.encode()),
        ("sf-class", error.error_class.value.encode()),
        ("sf-node", node.encode()),
    )


def _kept(headers: Headers) -> Headers:
    """The record's own headers, or how many were too much."""
    own = tuple((name, value) for name, value in headers if not name.startswith("sf-"))
    size = sum(len(name) + len(value or b"") for name, value in own)
    return own if size <= HEADERS_MAX_BYTES else (("sf-headers-dropped", b"%d" % len(own)),)


def _number(text: bytes) -> int:
    """Of a header that anybody may have written."""
    return int(text) if text.isdigit() and len(text) < 10 else 0
