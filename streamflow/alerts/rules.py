"""Rules as data: what must hold of which metric, for how long, and how bad it is then.

lag_high:
  kind: threshold                       # rate, absence, anomaly, burn_rate
  metric: streamflow_lag_records
  labels: {topology: flights}           # patterns
  by: [topology, stage]                 # one alert per …; of every series by itself when left out
  above: 10000
  for: 5m
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from streamflow.bus.topics import SAMPLES_KEPT_MS
from streamflow.errors import Problem
from streamflow.model.names import node_problem
from streamflow.model.severity import AlertSeverity
from streamflow.nodes.kind import DurationMs
from streamflow.topology.config_problems import problems_of

#: Rules of one layer.
RULES_MAX = 500
#: How far back a rule may look: as long as samples are kept.
LOOK_BACK_MAX_MS = SAMPLES_KEPT_MS

Combine = Literal["sum", "max", "min", "mean"]
_Text = Annotated[str, Field(max_length=200)]
_LookBack = Annotated[DurationMs, Field(ge=1_000, le=LOOK_BACK_MAX_MS)]


class Strict(BaseModel):
    """Base: strict types, no unknown keys, frozen."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, populate_by_name=True, defer_build=True)


class Ratios(Strict):
    """Ratio of value and limit above which an alert is more than an info."""

    warning: float = Field(1.2, ge=1, allow_inf_nan=False)
    critical: float = Field(1.5, ge=1, allow_inf_nan=False)


class BaseRule(Strict):
    """What all rules have."""

    enabled: bool = True
    labels: dict[_Text, _Text] = Field(default_factory=dict, max_length=20, description="patterns that labels must fit")
    for_: DurationMs = Field(0, alias="for", le=LOOK_BACK_MAX_MS, description="how long it must hold")
    cooldown: DurationMs = Field(60_000, le=LOOK_BACK_MAX_MS, description="after its end it is not raised for so long")
    severity: AlertSeverity | None = Field(None, description="fixed; by the ratio of value and limit when left out")
    severity_ratios: Ratios = Ratios()
    route: str = Field("default", max_length=64, description="route of its notifications")
    summary: str = Field("", max_length=500, description="what to tell people")

    @property
    def metrics(self) -> tuple[str, ...]:
        """What it is about."""
        return (getattr(self, "metric"),)  # noqa: B009 - each rule but the burn rate's has one

    @property
    def look_back_ms(self) -> int:
        """How far back it looks, its `for` included."""
        return self.for_ + getattr(self, "window", 0)


class _Limited(BaseRule):
    metric: str = Field(min_length=1, max_length=200)
    by: list[_Text] | None = Field(None, max_length=10, description="labels that make one alert")
    above: float | None = Field(None, allow_inf_nan=False)
    below: float | None = Field(None, allow_inf_nan=False)

    @model_validator(mode="after")
    def _one_limit(self) -> "_Limited":
        if (self.above is None) == (self.below is None):
            raise ValueError("give either above or below")
        return self


class ThresholdRule(_Limited):
    """The last value is above or below a limit."""

    kind: Literal["threshold"] = "threshold"
    combine: Combine = Field("max", description="value of what `by` puts together")


class RateRule(_Limited):
    """The change per second is above or below a limit. counter: it only grows, and begins anew at a restart."""

    kind: Literal["rate"]
    window: _LookBack = 300_000
    counter: bool = True
    combine: Combine = "sum"


class AbsenceRule(BaseRule):
    """Nothing came for a time: of any series, or of one of `by` that was seen before."""

    kind: Literal["absence"]
    metric: str = Field(min_length=1, max_length=200)
    by: list[_Text] = Field(default_factory=list, max_length=10)
    window: _LookBack = 300_000
    severity: AlertSeverity | None = "critical"


class AnomalyRule(BaseRule):
    """A value is far from what its series has shown before: 0.6745 |x - median| / MAD above `score`."""

    kind: Literal["anomaly"]
    metric: str = Field(min_length=1, max_length=200)
    window: _LookBack = 3_600_000
    score: float = Field(3.5, gt=0, allow_inf_nan=False)
    warm_up: int = Field(30, ge=3, le=10_000, description="values before the first is judged")
    side: Literal["both", "above", "below"] = "both"


class BurnWindow(Strict):
    """Holds when the budget burns faster than `burn` over both windows; the short one ends it soon."""

    long: _LookBack
    short: _LookBack
    burn: float = Field(gt=0, allow_inf_nan=False)
    severity: AlertSeverity


class BurnRateRule(BaseRule):
    """The error budget of an objective burns too fast (The Site Reliability Workbook, 2018, chapter 5)."""

    kind: Literal["burn_rate"]
    bad: str = Field(min_length=1, max_length=200, description="counter of what went wrong")
    total: str = Field(min_length=1, max_length=200, description="counter of everything")
    objective: float = Field(gt=0, lt=1, description="share that must go well, such as 0.999")
    by: list[_Text] = Field(default_factory=lambda: ["topology"], max_length=10)
    windows: list[BurnWindow] = Field(
        default_factory=lambda: [
            BurnWindow(long=3_600_000, short=300_000, burn=14.4, severity="critical"),
            BurnWindow(long=21_600_000, short=1_800_000, burn=6.0, severity="warning"),
        ],
        min_length=1,
        max_length=5,
    )

    @property
    def metrics(self) -> tuple[str, ...]:
        """Both counters."""
        return self.bad, self.total

    @property
    def look_back_ms(self) -> int:
        """Of the longest window."""
        return self.for_ + max(each.long for each in self.windows)


Rule = ThresholdRule | RateRule | AbsenceRule | AnomalyRule | BurnRateRule
_KINDS: Mapping[str, type[Rule]] = {
    "threshold": ThresholdRule,
    "rate": RateRule,
    "absence": AbsenceRule,
    "anomaly": AnomalyRule,
    "burn_rate": BurnRateRule,
}

#: What a service watches when nobody says anything else; `queue_size` is the lag of all tasks.
BUILT_IN: Mapping[str, dict[str, Any]] = {
    "response_time": {"metric": "response_time_ms", "above": 5_000, "by": ["topology"], "for": "1m"},
    "memory_usage": {"metric": "memory_usage_percent", "above": 80, "by": ["worker"], "for": "1m"},
    "cpu_usage": {"metric": "cpu_usage_percent", "above": 85, "by": ["worker"], "for": "5m"},
    "error_rate": {"metric": "error_rate_percent", "above": 5, "by": ["topology"], "for": "1m"},
    "queue_size": {"metric": "queue_size", "above": 100, "by": ["topology"], "combine": "sum", "for": "5m"},
}


def parse_rules(found: Any, place: str = "rules") -> tuple[dict[str, Rule], list[Problem]]:
    """Rules by name, and everything that is wrong with them."""
    if not isinstance(found, Mapping):
        return {}, [Problem(place, "is no mapping of names to rules")]
    problems: list[Problem] = []
    if len(found) > RULES_MAX:
        return {}, [Problem(place, f"has {len(found)} rules", f"at most {RULES_MAX}")]
    rules: dict[str, Rule] = {}
    for name, given in found.items():
        at = f"{place}.{name}"
        problem = node_problem(name) if isinstance(name, str) else "the name is no text"
        if problem is not None:
            problems.append(Problem(at, problem))
        kind = str(given.get("kind", "threshold")) if isinstance(given, Mapping) else ""
        if kind not in _KINDS:
            problems.append(Problem(at, "is no rule", f"a mapping with kind {', '.join(_KINDS)}"))
            continue
        try:
            rules[name] = _KINDS[kind].model_validate(dict(given))
        except ValidationError as error:
            problems += problems_of(error, at, _KINDS[kind])
    return rules, problems


def plain_rule(rule: Rule) -> dict[str, Any]:
    """As it is written, with defaults filled in; durations in ms."""
    return rule.model_dump(mode="json", by_alias=True, exclude_none=True)


def given_rule(rule: Rule) -> dict[str, Any]:
    """What was given of it, in types that every reader of JSON has."""
    return rule.model_dump(mode="json", by_alias=True, exclude_unset=True)
