"""What the web layer needs from the process it lives in. The command line wires it to the runtime."""

from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from streamflow.bus.control import Wish
from streamflow.bus.feed import EventFeed
from streamflow.bus.log import EventLog
from streamflow.bus.states import State
from streamflow.engine.global_table import FollowedTable
from streamflow.engine.history import History
from streamflow.model.keyed_publish import Published
from streamflow.model.letter import Decided, Letter, LetterFilter, LetterPage
from streamflow.model.outcome import Headers
from streamflow.model.position import Positions
from streamflow.model.trace_context import Span, TraceContext
from streamflow.plan.plan import Plan, Stage, TablePlan
from streamflow.query.reader import TableReader
from streamflow.query.standing import TaskStanding
from streamflow.state.store import Store, TableChanges
from streamflow.web.executions import Executions

if TYPE_CHECKING:
    from streamflow.alerts.config import AlertsConfig
    from streamflow.alerts.series import History as SampleSeries


@dataclass(frozen=True, slots=True)
class LocalTable:
    """A table's partition on this worker. `positions`: committed next offset per (topic, partition)."""

    store: Store
    watermark_ms: int
    positions: Mapping[tuple[str, int], int]


class Controls(Protocol):
    """Orders to the topology, on whatever worker its tasks are."""

    @property
    def state(self) -> State:
        """What the topology is."""

    def standing(self) -> dict[str, Any]:
        """`state`, the order that holds (`wish`, `version`, `run`, `actor`, `reason`, `at`, in ms), and `waiting_for`:
        tasks that have not obeyed it yet, as `stage/partition`."""

    async def order(self, wish: Wish, actor: str, reason: str, version: int | None) -> int:
        """Give an order, if it does not hold already; the version that holds then. Raises IllegalMove,
        BrokerUnavailable."""

    async def cancel_execution(self, execution: bytes, actor: str, reason: str) -> None:
        """Cancel one execution, on whatever worker its rows are. Raises BrokerUnavailable."""

    async def obeyed(self, version: int, timeout_s: float) -> bool:
        """Wait until all have obeyed; whether they had in time."""


#: Told of every checkpoint that is in Kafka and in the store: stage, partition, the store, what changed.
CheckpointListener = Callable[[str, int, Store, list[TableChanges]], None]


class SpanLog(Protocol):
    """Where spans go."""

    def begin(self, header: bytes | None) -> tuple[TraceContext | None, TraceContext] | None:
        """(parent, own span) of a request with this `traceparent`, None when it is not traced."""

    def tell(self, spans: Iterable[Span]) -> None:
        """Export spans that end now; never waits."""


class SampleReader(Protocol):
    """The metrics stream. interval_ms: between two samples of a worker."""

    interval_ms: int

    async def read(self, metrics: Collection[str], since_ms: int, now_ms: int) -> "SampleSeries":
        """Series of these metrics from a time on. Raises BrokerUnavailable."""


class LetterDesk(Protocol):
    """Dead letters of the topology; numbers are offsets, `by` who asked for it. Raises BrokerUnavailable."""

    async def page(self, wanted: LetterFilter, start: int, end: int | None, limit: int) -> LetterPage:
        """Letters that are meant, oldest first, from number `start` to before `end` (None: all that are there now)."""

    async def letter(self, number: int) -> Letter | None:
        """One letter, None when there is none of that number."""

    async def redrive(
        self, wanted: LetterFilter, start: int, end: int | None, limit: int, per_s: float, by: str
    ) -> Decided:
        """Send letters again, in order, at most `per_s` a second. Raises UserError, Fenced."""

    async def discard(
        self, wanted: LetterFilter, start: int, end: int | None, limit: int, by: str, comment: str
    ) -> Decided:
        """Mark letters. Raises UserError, Fenced."""

    async def edit(self, number: int, value: bytes, by: str, comment: str) -> Letter | None:
        """Keep another event beside the original; None when there is no such letter. Raises UserError, Fenced."""


class Snapshots(Protocol):
    """Kept states of the topology; what is given is what people are shown. Raises UserError, BrokerUnavailable,
    ObjectsRefused, ObjectsUnreachable."""

    async def taken(self) -> list[dict[str, Any]]:
        """All, the oldest first."""

    async def take(self, actor: str) -> dict[str, Any]:
        """Keep the state as it is. Raises IllegalMove when the topology does not stand still."""

    async def restore(self, snapshot: str, run: str, origin: str, actor: str) -> dict[str, Any]:
        """Make a run that goes on from a snapshot. Raises StateMismatch when it does not fit."""


class Service(Protocol):
    """The process behind the web application."""

    plan: Plan
    controls: Controls
    #: Kept states.
    snapshots: Snapshots
    #: Where this process says what happens to it.
    events: EventLog
    #: The bus as this process reads it, None where events are off.
    feed: EventFeed | None
    #: The alerts file, None where rules are not judged.
    alerts_config: "AlertsConfig | None"
    #: What all workers measured, None where rules are not judged.
    samples: SampleReader | None
    #: This worker's address, as other workers know it.
    url: str

    def partition_count(self, topic: str) -> int:
        """Partitions of a topic of the plan."""

    def view(self) -> dict[str, Any]:
        """Spec, plan, state, positions, lag and watermarks of the topology."""

    def reader(self, stage: Stage, table: TablePlan) -> TableReader:
        """Reader of a table's rows."""

    def local(self, stage: Stage, partition: int) -> LocalTable | float | None:
        """Own task's table; its restore ratio while restoring; None when it is not ours."""

    def global_table(self, name: str) -> FollowedTable:
        """A global table of the plan."""

    def standing(self, stage: str, partition: int) -> TaskStanding | None:
        """Where an own task stands in time; None when it is not ours."""

    def history(self, stage: str, partition: int) -> History | None:
        """What an own task remembers about time; None when it does not run here."""

    def owner(self, stage: Stage, partition: int) -> str | None:
        """Address of the worker that has a task, None when nobody has it yet."""

    @property
    def publishing_is_busy(self) -> bool:
        """Whether a publish should come back later."""

    async def publish(
        self,
        topic: str,
        records: Sequence[tuple[bytes | None, bytes | None]],
        headers: Sequence[tuple[str, bytes]] = (),
        partition: int | None = None,
        each: Sequence[Headers] = (),
    ) -> dict[int, int]:
        """Append records, each with the headers, to a partition, or to those of their keys, acknowledged by all
        replicas; next offset per partition. each: further headers of each record, which then goes in a
        batch of its own. Raises BrokerUnavailable."""

    def publish_owner(self, key: str) -> str | None:
        """Address of the worker that should decide about an idempotency key; None when nobody is known."""

    async def publish_once(
        self,
        topic: str,
        key: str,
        digest: bytes,
        records: Sequence[tuple[bytes | None, bytes | None]],
        headers: Sequence[tuple[str, bytes]] = (),
    ) -> Published:
        """Append records unless that was done under the idempotency key. Raises KeyReused, TooManyKeys,
        BrokerUnavailable."""

    async def forward(
        self, url: str, path: str, parameters: Mapping[str, str], headers: Mapping[str, str], body: bytes
    ) -> tuple[int, Mapping[str, str], bytes]:
        """POST at another worker: (status, headers, body). Raises OwnerUnreachable."""

    @property
    def traces(self) -> SpanLog:
        """Where spans go."""

    @property
    def letters(self) -> LetterDesk:
        """Dead letters of the topology."""

    #: Outcomes of events that somebody waits for.
    executions: Executions

    async def follow_outcomes(self) -> None:
        """From now on (at the latest) give parts of outcomes to `executions`. Raises BrokerUnavailable."""

    async def wait_until_reflected(
        self, stage: Stage, partitions: list[int], token: Positions, wait_s: float
    ) -> tuple[Positions, int]:
        """Wait until own tables of the stage reflect a publish.

        Gives the token in positions of the stage's own inputs, for the workers that have the other partitions, and how
        many records are still missing when the time is over (0: none).
        """

    async def ask(self, url: str, path: str, parameters: Mapping[str, str]) -> tuple[int, dict[str, Any]]:
        """GET at another worker: (status, body). Raises OwnerUnreachable."""

    def follow(
        self, url: str, path: str, parameters: Mapping[str, str], headers: Mapping[str, str]
    ) -> AbstractAsyncContextManager[tuple[int, AsyncIterator[str]]]:
        """GET at another worker whose answer does not end: (status, lines). Raises OwnerUnreachable, also while lines
        are read; silence of 30 s counts as that."""

    def on_checkpoint(self, listener: CheckpointListener) -> None:
        """Be told of checkpoints of own tasks."""

    def worked_s(self) -> float:
        """Seconds that own tasks have worked on events so far."""

    def version(self, stage: str, partition: int) -> str:
        """Digest of what is committed of an own task, "" when it is not ours. The same digest means the same tables
        also at another worker, but for what happens by the wall clock."""

    def health(self) -> tuple[bool, dict[str, Any]]:
        """Whether progress is made, and details."""

    def readiness(self) -> tuple[bool, dict[str, Any]]:
        """Whether assigned, restored and serving, and details."""

    def metrics(self, accept: str) -> tuple[bytes, str]:
        """Prometheus or OpenMetrics text, whichever is accepted, and its media type."""

    def waiting_tasks(self) -> list[dict[str, Any]]:
        """Tasks of this worker's loop: `task`, `count` and `at`."""
        ...

    def profile(self, seconds: float) -> dict[str, Any]:
        """Where processor time goes, see `web/profiling.py`; blocks its thread. Raises UserError where it cannot."""
