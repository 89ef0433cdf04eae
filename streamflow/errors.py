"""Every error of streamflow, in one tree.

    StreamflowError
    ├── UserError                    somebody asked for what cannot be: mend the input, do not retry
    │   ├── TopologyError            a topology with problems; carries all of them
    │   ├── ExpressionError          an expression that does not parse, type or fit its bounds
    │   ├── SettingsError            a setting that is missing or contradicts another
    │   └── EventError               one event that cannot be used (decode, key, time, size)
    │       └── CallFailed           a call to the outside failed for a row, after all attempts; has a class of its own
    ├── ExternalError                something outside did not do its part
    │   ├── BrokerUnavailable        transient: no answer, no leader, connection lost
    │   ├── TopicError               permanent: a topic is missing or has the wrong shape
    │   ├── KafkaRefusal             permanent: Kafka does not take this worker (permissions, session time-out)
    │   ├── OwnerUnreachable         transient: the worker that has a partition does not answer
    │   ├── TableTooLarge            permanent: a table has outgrown its bound
    │   ├── ModelError               permanent: a model is missing, refused, or not what its card says
    │   │   └── ModelsUnreachable    transient: the store of model files does not answer; the worker restarts
    │   ├── ObjectsRefused           permanent: an object store does not take the worker's credentials
    │   ├── ObjectsUnreachable       transient: an object store does not answer
    │   ├── SinkRefused              permanent: a database does not take any row
    │   ├── SinkFailed               transient: a folder or database does not answer; the worker restarts
    │   ├── StateInUse               permanent: another process works with the same state folder
    │   ├── TransactionFailed        system: the transaction cannot be finished; the worker restarts
    │   └── StoreFailed              system: local disk or store; the worker restarts, state is in the changelog
    └── InternalError                streamflow broke one of its own rules
        ├── Fenced                   a newer owner has this task: drop what is staged and close
        ├── StateMismatch            stored state does not fit the plan or the changelog: refuse, never misread
        └── Stalled                  the watchdog saw work waiting and nothing moving

Each class says who is to blame (`blame`), how lasting it is (`lasting`) and what recovery does (`recovery`). Foreign
errors are translated at the door of their library.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar


class Blame(StrEnum):
    """Who has to act."""

    USER = "user"
    EXTERNAL = "external"
    INTERNAL = "internal"


class Lasting(StrEnum):
    """Whether the same attempt may succeed later."""

    TRANSIENT = "transient"
    PERMANENT = "permanent"


class ErrorClass(StrEnum):
    """What helps: waiting, another input, another worker, or another request."""

    TRANSIENT = "transient"  # passing trouble: trying again helps
    PERMANENT = "permanent"  # data or configuration: trying again never helps
    SYSTEM = "system"  # a worker or the platform broke: work moves elsewhere
    USER = "user"  # the caller may not, or has used up a quota: told to the caller


class Recovery(StrEnum):
    """What the runtime does about it."""

    REFUSE = "refuse"  # tell the caller, change nothing
    DEAD_LETTER = "dead_letter"  # put the event aside and go on
    RETRY = "retry"  # same attempt again, with backoff
    RESTART = "restart"  # end the process; the supervisor starts it again
    DROP = "drop"  # close the task without writing anything


class StreamflowError(Exception):
    """Root of the tree. `str(error)` is one sentence with the place and the remedy."""

    blame: ClassVar[Blame] = Blame.INTERNAL
    lasting: ClassVar[Lasting] = Lasting.PERMANENT
    recovery: ClassVar[Recovery] = Recovery.RESTART

    @property
    def error_class(self) -> ErrorClass:
        """One word for blame, lasting and recovery together."""
        if self.lasting is Lasting.TRANSIENT:
            return ErrorClass.TRANSIENT
        if self.blame is Blame.USER:
            return ErrorClass.USER
        return ErrorClass.PERMANENT if self.recovery is Recovery.REFUSE else ErrorClass.SYSTEM


class UserError(StreamflowError):
    """The input is at fault."""

    blame = Blame.USER
    recovery = Recovery.REFUSE


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a topology.

    `place` is the node's name or a path in the file (`nodes.hourly.window.size`), `message` says what is wrong,
    `remedy` what to write instead, `line` where in the file it is (from 1) when that is known.
    """

    place: str
    message: str
    remedy: str = ""
    line: int | None = None

    def __str__(self) -> str:
        at = f", line {self.line}" if self.line is not None else ""
        return f"{self.place}{at}: {self.message}" + (f" ({self.remedy})" if self.remedy else "")


class TopologyError(UserError):
    """A topology that cannot run; `problems` lists everything that was found, not only the first."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        self.problems = problems
        super().__init__("\n".join(str(problem) for problem in problems))


class ExpressionError(UserError):
    """An expression was refused at compile time. `column` is the 0-based place in its source, or None."""

    def __init__(self, message: str, column: int | None = None) -> None:
        self.column = column
        super().__init__(message)


class SettingsError(UserError):
    """A setting is missing, malformed, or contradicts another one."""


class EventError(UserError):
    """One event cannot be used. `reason` is a stable word for metrics and dead letters (`decode`, `null_key`, …)."""

    recovery = Recovery.DEAD_LETTER
    #: Further headers of its dead letter.
    details: tuple[tuple[str, bytes], ...] = ()
    #: SHA-256 of what the node at fault remembered of the event's key, where it does.
    state_digest = ""

    def __init__(self, reason: str, message: str) -> None:
        self.reason = reason
        super().__init__(message)

    @property
    def error_class(self) -> ErrorClass:
        """Bad data stays bad; an error whose cause may pass says so by `lasting`."""
        return ErrorClass.TRANSIENT if self.lasting is Lasting.TRANSIENT else ErrorClass.PERMANENT


class CallFailed(EventError):
    """A call to the outside failed for a row.

    error_class: transient (time-out, connection, 5xx, 429), permanent (refused, or an answer that cannot be used),
    user (the row asks for what cannot be asked) or system (this worker lacks something, such as descriptors).
    retry_after_s: how long its target asked to be left alone.
    """

    blame = Blame.EXTERNAL

    def __init__(self, reason: str, message: str, error_class: ErrorClass, retry_after_s: float | None = None) -> None:
        self._error_class, self.retry_after_s = error_class, retry_after_s
        super().__init__(reason, message)

    @property
    def error_class(self) -> ErrorClass:
        """As it was found."""
        return self._error_class


class IllegalMove(UserError):
    """What is asked for cannot follow from the state that something is in, or from the version that it has by now."""


class ExternalError(StreamflowError):
    """Something outside the process failed."""

    blame = Blame.EXTERNAL


class BrokerUnavailable(ExternalError):
    """Kafka did not answer in time or has no leader for a partition."""

    lasting = Lasting.TRANSIENT
    recovery = Recovery.RETRY


class OwnerUnreachable(ExternalError):
    """Another worker, which has what is asked for, did not answer in time."""

    lasting = Lasting.TRANSIENT
    recovery = Recovery.REFUSE


class TopicError(ExternalError):
    """A topic is missing or has another shape than the plan needs."""

    recovery = Recovery.REFUSE


class KafkaRefusal(ExternalError):
    """Kafka does not take this worker as it is: a permission is missing, or a setting is outside of what it allows."""

    recovery = Recovery.REFUSE


class TableTooLarge(ExternalError):
    """A table has more rows, windows or bytes than its declared bound."""

    recovery = Recovery.REFUSE


class ModelError(ExternalError):
    """A model is missing, must not be loaded, or is not what its card or its node says."""

    recovery = Recovery.REFUSE


class ModelsUnreachable(ModelError):
    """The store of model files does not answer."""

    lasting = Lasting.TRANSIENT
    recovery = Recovery.RESTART


class ObjectsRefused(ExternalError):
    """An object store does not take the worker's credentials."""

    recovery = Recovery.REFUSE


class ObjectsUnreachable(ExternalError):
    """An object store, or a folder in its place, does not answer."""

    lasting = Lasting.TRANSIENT


class SinkRefused(ExternalError):
    """A database does not take any row: no table, no column, no permission. It would not take them again."""

    recovery = Recovery.REFUSE


class SinkFailed(ExternalError):
    """What a sink writes to does not answer. Nothing is lost: its rows wait in Kafka."""

    lasting = Lasting.TRANSIENT
    recovery = Recovery.RESTART


class StateInUse(ExternalError):
    """Another process works with this state folder. Its stores are left alone."""

    recovery = Recovery.REFUSE


class TransactionFailed(ExternalError):
    """A transaction cannot be finished, or its outcome is unknown. The worker ends; its successor reads the truth."""

    recovery = Recovery.RESTART


class StoreFailed(ExternalError):
    """The local store cannot be opened, read or written. Nothing is lost: the changelog has the state."""

    recovery = Recovery.RESTART


class InternalError(StreamflowError):
    """streamflow broke one of its own rules."""


class Fenced(InternalError):
    """A newer owner initialised this task's producer. Nothing may be written any more."""

    lasting = Lasting.PERMANENT
    recovery = Recovery.DROP


class StateMismatch(InternalError):
    """Stored state has another layout, or is ahead of what Kafka holds."""

    recovery = Recovery.REFUSE


class Stalled(InternalError):
    """Records wait and the position has not moved for longer than the stall limit."""

    lasting = Lasting.TRANSIENT
    recovery = Recovery.RESTART
