"""Scores the rows of a node with a model: which version, answers ahead of a slice, and what is known about them.

A version that was asked for by number never changes. `latest` is resolved when a task opens without a past, and then at
checkpoints only: the version in use from then on is part of the checkpoint (Progress.versions), so that whoever does
its rows again asks the same one. A newer one is loaded beside the work before it is used.
"""

import logging
import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from streamflow.engine.global_table import GlobalTable
from streamflow.errors import EventError, ModelError, StateMismatch
from streamflow.inference.adapter import Column
from streamflow.inference.answers import Answer, answers_of, fields_of
from streamflow.inference.card import InputType, ModelCard, Task, card_of, newest
from streamflow.inference.drift import Drift
from streamflow.inference.models import Models
from streamflow.model.late_import import LateImport
from streamflow.model.schema import FieldType
from streamflow.nodes.model import LATEST, SHARES
from streamflow.nodes.operators import Score
from streamflow.plan.plan import Stage

if TYPE_CHECKING:
    import numpy as np
else:
    np = LateImport("numpy")

log = logging.getLogger(__name__)

_UNKNOWN: Any = object()
#: Time that one slice of a stage with models should take, and the fewest records in one.
SLICE_S, SLICE_LEAST = 0.01, 64


@dataclass(slots=True)
class ModelCounts:
    """Of one version since the task opened. calls: of the model; rows: that it answered; failed: that it could not."""

    calls: int = 0
    rows: int = 0
    failed: int = 0
    seconds: float = 0.0
    drift: Drift | None = None


class Scorer:
    """Of one node of one task. `counts` by version; `version` in use where the latest is asked for."""

    def __init__(self, node: str, operator: Score, tables: Mapping[str, GlobalTable]) -> None:
        self.node, self._operator = node, operator
        self._registry = tables[operator.registry]
        self._models: Models | None = None
        self.counts: dict[str, ModelCounts] = {}
        self.version = ""
        self.row_s = 0.0
        self._follows = any(LATEST in each for each in (*operator.shares, (operator.shadow,)))
        self._wanted = ""
        self._seen: tuple[int, int] = (-1, -1)
        self._cards: dict[str, ModelCard] = {}
        self._memo: dict[tuple[int, tuple[Any, ...]], Answer | None] = {}
        self._gathered: dict[tuple[int, tuple[Any, ...]], None] = {}
        self._absent = (None,) * len(fields_of(operator.task, operator.top_k, ""))

    def open(self, models: Models | None, version: str) -> None:
        """Resolve versions and load their models. `version`: in use at the last checkpoint, "" when there is none.

        Raises ModelError.
        """
        if models is None:
            raise ModelError(f"node {self.node} asks models, but none can be loaded here: give the task a Models")
        self._models = models
        for card in self.resolve(version):
            models.get(card)

    def resolve(self, version: str) -> list[ModelCard]:
        """Cards of the models that it begins with. Raises ModelError."""
        operator = self._operator
        if self._follows:
            there = self._there()
            self.version = version if version in there else (newest(there) or "")
            self._wanted = self.version
        asked = (*operator.shares, *([(operator.shadow, 0)] if operator.shadow else []))
        return [self._card(self._number(wanted)) for wanted, _ in asked]

    @property
    def follows(self) -> bool:
        """Whether it asks the latest version."""
        return self._follows

    # -- versions -----------------------------------------------------------------------------------------------------

    def _there(self) -> list[str]:
        return [row.version for row in self._registry.rows.values() if row.name == self._operator.model]

    def _number(self, version: str) -> str:
        return self.version if version == LATEST else version

    def _card(self, version: str) -> ModelCard:
        """The card of a version, as it was when it was first asked for. Raises ModelError."""
        if version not in self._cards:
            row = self._registry.rows.get(f"{self._operator.model}@{version}")
            if row is None:
                which = f"version {version} of model" if version else "model"
                raise ModelError(
                    f"node {self.node}: {which} {self._operator.model!r} is not in topic {self._operator.registry}; "
                    f"add it with `streamflow models add {self._operator.model}`, or name another version"
                )
            card = card_of(row)
            self._check(card)
            self._cards[version] = card
        return self._cards[version]

    def _check(self, card: ModelCard) -> None:
        operator, place = self._operator, f"node {self.node}, model {card.id}"
        if card.task is not operator.task:
            raise ModelError(f"{place}: it does {card.task}, the node says {operator.task}; mend the node's task")
        kinds = [_kind(each.type) for each in operator.inputs]
        if kinds != [each.type for each in card.inputs]:
            wanted = ", ".join(f"{each.name} ({each.type})" for each in card.inputs)
            raise ModelError(f"{place}: its inputs are {wanted}, the node gives {', '.join(kinds)}")

    def is_stale(self) -> bool:
        """Whether a newer version is loaded than the one in use; it begins to load one that it sees first."""
        if not self._follows or self._models is None:
            return False
        seen = (len(self._registry.rows), self._registry.size_bytes)
        if seen != self._seen:
            self._seen = seen
            self._wanted = newest(self._there()) or self.version
        if self._wanted == self.version:
            return False
        try:
            return self._models.is_ready(self._card(self._wanted))
        except ModelError as error:
            said = "version %s of model %s is not used: %s"
            log.error(said, self._wanted, self._operator.model, error, extra={"node": self.node})
            self._wanted = self.version
            return False

    def swap(self) -> None:
        """At a checkpoint: from now on use the newest version that is loaded."""
        if self.is_stale():
            said = "node %s: model %s %s → %s"
            log.info(said, self.node, self._operator.model, self.version, self._wanted, extra={"node": self.node})
            self.version = self._wanted
        self._memo.clear()

    # -- answers ------------------------------------------------------------------------------------------------------

    def score(self, inputs: tuple[Any, ...], key: Any) -> Answer | None:
        """The fields of a row; None when its confidence is too low. Raises EventError."""
        place = (self._arm(key), inputs)
        found = self._memo.get(place, _UNKNOWN)
        if found is not _UNKNOWN:
            return found  # type: ignore[no-any-return]
        version = self._number(self._operator.shares[place[0]][0])
        if not self._operator.nulls and None in inputs:
            name = self._operator.inputs[inputs.index(None)].source
            raise EventError("model_input", f"input {name!r} of the model is null")
        try:
            answer = self._ask(version, [inputs])[0]
        except ModelError:
            raise
        except Exception as error:
            self._count(version).failed += 1
            raise EventError(
                "model", f"model {self._operator.model}@{version}: {type(error).__name__}: {error}"
            ) from error
        if answer is None:
            self._count(version).failed += 1
            raise EventError("model_output", f"model {self._operator.model}@{version} gives a number that is none")
        return self._passed(answer, self._shadows([inputs])[0])

    def gather(self, inputs: tuple[Any, ...], key: Any) -> None:
        """A row of the slice will ask for this."""
        if self._operator.nulls or None not in inputs:
            self._gathered[self._arm(key), inputs] = None

    def score_gathered(self) -> None:
        """Ask the model for all that was gathered. What it fails for is asked again when its row's turn comes."""
        self._memo.clear()
        places, self._gathered = list(self._gathered), {}
        for arm, (wanted, _) in enumerate(self._operator.shares):
            mine = [place for place in places if place[0] == arm]
            for start in range(0, len(mine), self._operator.batch_rows):
                some = mine[start : start + self._operator.batch_rows]
                try:
                    found = self._ask(self._number(wanted), [inputs for _, inputs in some])
                except ModelError:
                    raise
                except Exception:  # noqa: S112 - one row is enough to fail; each is told in its own turn
                    continue
                shadows = self._shadows([inputs for _, inputs in some])
                for place, answer, shadow in zip(some, found, shadows, strict=True):
                    if answer is not None:
                        self._memo[place] = self._passed(answer, shadow)

    def _arm(self, key: Any) -> int:
        """Which of several versions a key asks: by a hash of its own, as partitions take the usual one."""
        shares = self._operator.shares
        if len(shares) == 1:
            return 0
        share = zlib.crc32(f"{self._operator.model}\t{key}".encode()) % SHARES
        return next(place for place, (_, bound) in enumerate(shares) if share < bound)

    def _passed(self, answer: Answer, shadow: Answer) -> Answer | None:
        if self._operator.task is Task.CLASSIFICATION and answer[1] < self._operator.floor:
            return None
        return answer + shadow

    def _shadows(self, rows: Sequence[tuple[Any, ...]]) -> list[Answer]:
        """What the shadow says, nulls where it fails: nobody depends on it."""
        if self._operator.shadow is None:
            return [()] * len(rows)
        version = self._number(self._operator.shadow)
        try:
            found = self._ask(version, rows)
        except Exception as error:
            if len(rows) > 1:
                return [self._shadows([each])[0] for each in rows]
            self._count(version).failed += 1
            log.debug("shadow %s of node %s: %s", version, self.node, error, extra={"node": self.node})
            found = [None]
        return [self._absent if answer is None else answer for answer in found]

    def _ask(self, version: str, rows: Sequence[tuple[Any, ...]]) -> list[Answer | None]:
        """One call of a model; None for a row whose numbers are none."""
        assert self._models is not None
        began = time.perf_counter()
        card = self._card(version)
        loaded = self._models.get(card)
        columns = _columns(card, rows)
        found = loaded.predict(columns)
        labels = card.labels or loaded.predictor.labels
        answers: list[Answer | None] = list(answers_of(card.task, labels, self._operator.top_k, version)(found))
        for place in _not_numbers(found):
            answers[place] = None
        counts = self._count(version)
        if counts.drift is None:
            counts.drift = Drift(card.inputs)
        counts.drift.add(columns)
        spent_s = time.perf_counter() - began
        counts.calls += 1
        counts.rows += len(rows)
        counts.seconds += spent_s
        self.row_s = 0.7 * self.row_s + 0.3 * spent_s / max(len(rows), 8)
        return answers

    def _count(self, version: str) -> ModelCounts:
        return self.counts.setdefault(version, ModelCounts())


class Scorers:
    """Those of a task, in the order of its stage."""

    def __init__(self) -> None:
        self.all: list[Scorer] = []

    @classmethod
    def of(cls, stage: Stage, tables: Mapping[str, GlobalTable]) -> "Scorers":
        """Those that a task of the stage will have."""
        made = cls()
        for node in stage.nodes:
            if isinstance(node.operator, Score):
                made.add(Scorer(node.name, node.operator, tables))
        return made

    def add(self, scorer: Scorer) -> Scorer:
        """One more."""
        self.all.append(scorer)
        return scorer

    def open(self, models: Models | None, versions: tuple[tuple[str, str], ...]) -> None:
        """Load every model. `versions`: as `versions` gave them at the last checkpoint.

        Raises ModelError, and StateMismatch for versions without names that cannot be those of these nodes.
        """
        for scorer, version in self._begun(versions):
            scorer.open(models, version)

    def resolve(self, versions: tuple[tuple[str, str], ...]) -> list[ModelCard]:
        """Cards of the models that `open` would load. Raises as it does."""
        return [card for scorer, version in self._begun(versions) for card in scorer.resolve(version)]

    def _begun(self, versions: tuple[tuple[str, str], ...]) -> list[tuple[Scorer, str]]:
        following = [scorer.node for scorer in self.all if scorer.follows]
        known = dict(versions)
        if "" in known:
            if len(versions) != len(following):
                raise StateMismatch(
                    f"the last checkpoint has versions of {len(versions)} models without their nodes, there are "
                    f"{len(following)} that ask the latest: let this release run the topology as it was before, and "
                    "change it then; or reset it"
                )
            known = dict(zip(following, (version for _, version in versions), strict=True))
        return [(scorer, known.get(scorer.node, "")) for scorer in self.all]

    @property
    def versions(self) -> tuple[tuple[str, str], ...]:
        """(node, version) in use by those that ask the latest."""
        return tuple((scorer.node, scorer.version) for scorer in self.all if scorer.follows)

    def is_stale(self) -> bool:
        """Whether a checkpoint would swap one."""
        found = [scorer.is_stale() for scorer in self.all]  # each, as it may begin to load
        return any(found)

    def swap(self) -> None:
        """At a checkpoint."""
        for scorer in self.all:
            scorer.swap()

    def slice_records(self, most: int) -> int:
        """Records of a slice, so that the loop gets its turns however slow a model is."""
        slowest_s = max((scorer.row_s for scorer in self.all), default=0.0)
        return most if slowest_s * most <= SLICE_S else max(SLICE_LEAST, int(SLICE_S / slowest_s))


def as_list(value: Any) -> tuple[float, ...] | None:
    """A list of numbers of a json field. Raises EventError."""
    if value is None:
        return None
    if value.__class__ is not list or not all(each.__class__ in (int, float) for each in value):
        raise EventError("model_input", f"the model takes a list of numbers, not {str(value)[:100]}")
    return tuple(value)


def _kind(field: FieldType) -> InputType:
    if field is FieldType.JSON:
        return InputType.LIST
    return InputType.TEXT if field is FieldType.STR else InputType.NUMBER


def _columns(card: ModelCard, rows: Sequence[tuple[Any, ...]]) -> list[Column]:
    """One array per input; null becomes not-a-number."""
    columns = []
    for each, values in zip(card.inputs, zip(*rows, strict=True), strict=True):
        columns.append(np.array(values, dtype=np.object_ if each.type is InputType.TEXT else np.float64))
    return columns


def _not_numbers(columns: Sequence[Column]) -> list[int]:
    """Rows in which a column has infinity or not-a-number."""
    bad: set[int] = set()
    for column in columns:
        if np.issubdtype(column.dtype, np.floating):
            fine = np.isfinite(column.reshape(len(column), -1)).all(axis=1)
            bad.update(np.flatnonzero(~fine).tolist())
    return sorted(bad)
