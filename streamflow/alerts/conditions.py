"""Whether a rule holds now, for each of its groups: a function of the history and the moment alone."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean, median

from streamflow.alerts.rules import AbsenceRule, AnomalyRule, BurnRateRule, RateRule, Rule, ThresholdRule
from streamflow.alerts.series import History, Labels, Series
from streamflow.model.severity import AlertSeverity, severity_of

_COMBINED: Mapping[str, Callable[[list[float]], float]] = {"sum": sum, "max": max, "min": min, "mean": fmean}


@dataclass(frozen=True, slots=True)
class Reading:
    """A group for which a rule holds: the value, its limit, and how bad that is."""

    value: float | None
    limit: float | None
    severity: AlertSeverity


def holding(rule: Rule, history: History, now_ms: int, stale_ms: int) -> dict[Labels, Reading]:
    """Groups for which a rule holds. stale_ms: a value that old holds no more."""
    match rule:
        case ThresholdRule():
            return dict(_beyond(rule, _values(rule, history, now_ms, stale_ms)))
        case RateRule():
            return dict(_beyond(rule, _rates(rule, history, now_ms)))
        case AbsenceRule():
            return _absent(rule, history, now_ms)
        case AnomalyRule():
            return dict(_anomalies(rule, history, now_ms, stale_ms))
        case BurnRateRule():
            return _burning(rule, history, now_ms)


def _group(series: Series, by: list[str] | None) -> Labels:
    return series.labels if by is None else tuple(each for each in series.labels if each[0] in by)


def _combined(found: Iterable[tuple[Labels, float]], combine: str) -> dict[Labels, float]:
    groups: dict[Labels, list[float]] = {}
    for group, value in found:
        groups.setdefault(group, []).append(value)
    return {group: _COMBINED[combine](values) for group, values in groups.items()}


def _values(rule: ThresholdRule, history: History, now_ms: int, stale_ms: int) -> dict[Labels, float]:
    found = ((_group(each, rule.by), each.at(now_ms, stale_ms)) for each in history.select(rule.metric, rule.labels))
    return _combined(((group, value) for group, value in found if value is not None), rule.combine)


def _rates(rule: RateRule, history: History, now_ms: int) -> dict[Labels, float]:
    def rates() -> Iterator[tuple[Labels, float]]:
        for each in history.select(rule.metric, rule.labels):
            begin_ms = now_ms - rule.window
            span_ms = each.span_ms(begin_ms, now_ms)
            if span_ms:
                points = each.since(begin_ms, now_ms)
                change = increase(points) if rule.counter else points[-1] - points[0]
                yield _group(each, rule.by), change * 1_000 / span_ms

    return _combined(rates(), rule.combine)


def increase(points: list[float]) -> float:
    """By how much a counter grew; one that became less began anew at 0."""
    return sum(after - before if after >= before else after for before, after in pairwise(points))


def _beyond(rule: ThresholdRule | RateRule, values: Mapping[Labels, float]) -> Iterator[tuple[Labels, Reading]]:
    for group, value in values.items():
        limit = rule.above if rule.above is not None else rule.below
        assert limit is not None
        if value > limit if rule.above is not None else value < limit:
            yield group, Reading(value, limit, _severity(rule, value, limit))


def _severity(rule: Rule, value: float, limit: float) -> AlertSeverity:
    ratios = rule.severity_ratios
    return rule.severity or severity_of(value, limit, ratios.warning, ratios.critical)


def _absent(rule: AbsenceRule, history: History, now_ms: int) -> dict[Labels, Reading]:
    last: dict[Labels, int] = {} if rule.by else {(): 0}
    for each in history.select(rule.metric, rule.labels):
        group = _group(each, rule.by)
        last[group] = max(last.get(group, 0), max((at for at in each.times[-1:] if at <= now_ms), default=0))
    reading = Reading(None, None, rule.severity or "critical")
    return {group: reading for group, at_ms in last.items() if at_ms <= now_ms - rule.window}


def _anomalies(rule: AnomalyRule, history: History, now_ms: int, stale_ms: int) -> Iterator[tuple[Labels, Reading]]:
    for each in history.select(rule.metric, rule.labels):
        value = each.at(now_ms, stale_ms)
        before = each.since(now_ms - rule.window, now_ms)[:-1]
        if value is None or len(before) < rule.warm_up:
            continue
        score = robust_z(value, before)
        is_meant = {"both": abs(score), "above": score, "below": -score}[rule.side]
        if is_meant > rule.score:
            yield each.labels, Reading(value, rule.score, _severity(rule, abs(score), rule.score))


def robust_z(value: float, before: list[float]) -> float:
    """0.6745 (x - median) / MAD (Iglewicz and Hoaglin, 1993).

    Where more than half of them are equal MAD is 0; then (x - median) / (1.253314 mean absolute deviation), infinite
    where all of them are equal and this one is not.
    """
    middle = median(before)
    distances = [abs(each - middle) for each in before]
    scale = median(distances) / 0.6745 or 1.253314 * fmean(distances)
    if scale:
        return (value - middle) / scale
    return 0.0 if value == middle else float("inf") if value > middle else float("-inf")


def _burning(rule: BurnRateRule, history: History, now_ms: int) -> dict[Labels, Reading]:
    found: dict[Labels, Reading] = {}
    budget = 1 - rule.objective
    for window in rule.windows:  # the most urgent first: what one has found stays
        rates = [_bad_shares(rule, history, now_ms, length) for length in (window.long, window.short)]
        for group, long in rates[0].items():
            burn = min(long, rates[1].get(group, 0.0)) / budget
            if burn > window.burn:
                found.setdefault(group, Reading(burn, window.burn, window.severity))
    return found


def _bad_shares(rule: BurnRateRule, history: History, now_ms: int, length_ms: int) -> dict[Labels, float]:
    def grown(metric: str) -> dict[Labels, float]:
        found = history.select(metric, rule.labels)
        return _combined(((_group(e, rule.by), increase(e.since(now_ms - length_ms, now_ms))) for e in found), "sum")

    bad = grown(rule.bad)
    return {group: bad.get(group, 0.0) / total for group, total in grown(rule.total).items() if total > 0}
