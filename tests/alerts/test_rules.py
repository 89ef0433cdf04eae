"""Rules against series that were made by hand, and what is wrong with rules, all at once."""

import math
from typing import Any

import orjson
import pytest

from streamflow.alerts.config import load_alerts
from streamflow.alerts.evaluator import Evaluator, Move
from streamflow.alerts.rules import BUILT_IN, parse_rules
from streamflow.bus.alert_table import AlertTable
from streamflow.errors import TopologyError
from streamflow.runtime.sample_stream import points_in

_SECOND, _MINUTE = 1_000, 60_000


class Watch:
    """An evaluator, the table of its own events, and a clock."""

    def __init__(self, **rules: dict[str, Any]) -> None:
        made, problems = parse_rules(rules)
        assert problems == []
        self.evaluator, self.table, self.now_ms = Evaluator(made, "ns", 10 * _SECOND), AlertTable(), 0
        self.moves: list[tuple[int, str, str, str]] = []

    def at(self, second: int, value: float | None = None, metric: str = "m", **labels: str) -> list[Move]:
        """A sample and a judgement of that second."""
        self.now_ms = second * _SECOND
        if value is not None:
            self.evaluator.history.add(self.now_ms, metric, labels, value)
        return self.judge(second)

    def judge(self, second: int) -> list[Move]:
        moves = self.evaluator.evaluate(self.table, second * _SECOND)
        for move in moves:
            time = f"1970-01-01T{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}.000Z"
            self.table.fold({"type": move.kind, "subject": move.subject, "time": time, "data": move.data})
            self.moves.append((second, move.kind.value, move.data["alert"], move.data.get("severity", "")))
        return moves

    @property
    def said(self) -> list[tuple[int, str, str]]:
        return [(second, kind.removeprefix("ALERT_"), severity) for second, kind, _, severity in self.moves]


@pytest.mark.parametrize("name", list(BUILT_IN))
def test_each_built_in_limit_fires_once_and_ends(name: str) -> None:
    rule = BUILT_IN[name]
    watch = Watch(**{name: {**rule, "cooldown": 0}})
    for second in range(0, 1_200, 10):
        watch.at(
            second, rule["above"] * (1.1 if 100 <= second < 800 else 0.9), rule["metric"], topology="t", worker="w"
        )
    wait = {"1m": 60, "5m": 300}[rule["for"]]
    assert watch.said == [(100 + wait, "RAISED", "info"), (800, "CLEARED", "")]


@pytest.mark.parametrize(("ratio", "severity"), [(1.6, "critical"), (1.3, "warning"), (1.1, "info")])
def test_severity_is_the_ratio_to_the_limit(ratio: float, severity: str) -> None:
    assert Watch(r={"metric": "m", "above": 10}).at(10, 10 * ratio)[0].data["severity"] == severity
    assert Watch(r={"metric": "m", "below": 10}).at(10, 10 / ratio)[0].data["severity"] == severity


def test_one_breach_is_one_alert_that_becomes_more_severe_but_not_less() -> None:
    watch = Watch(r={"metric": "m", "above": 10, "cooldown": "30s"})
    for second, value in [
        (10, 11),
        (20, 13),
        (30, 11),
        (40, 16),
        (50, 9),
        (60, 20),
        (70, 20),
        (80, 20),
        (90, 1),
        (130, 20),
    ]:
        watch.at(second, value)
    assert watch.said == [
        (10, "RAISED", "info"), (20, "RAISED", "warning"), (40, "RAISED", "critical"), (50, "CLEARED", ""),
        (80, "RAISED", "critical"), (90, "CLEARED", ""), (130, "RAISED", "critical"),
    ]  # fmt: skip
    names = [name for _, _, name, _ in watch.moves]
    assert len(set(names[:4])) == 1
    assert len(set(names)) == 3


def test_groups_of_labels_are_alerts_of_their_own() -> None:
    watch = Watch(r={"metric": "m", "labels": {"topology": "a*"}, "by": ["topology"], "combine": "sum", "above": 10})
    watch.evaluator.history.add(9 * _SECOND, "m", {"topology": "ab", "partition": "0"}, 6)
    watch.evaluator.history.add(9 * _SECOND, "m", {"topology": "ac", "partition": "0"}, 6)
    watch.evaluator.history.add(9 * _SECOND, "m", {"topology": "x", "partition": "0"}, 60)
    moves = watch.at(10, 6, topology="ab", partition="1")
    assert [(move.subject, move.data["value"], move.data["labels"]) for move in moves] == [
        ("ab", 12, {"topology": "ab"})
    ]


def test_rate_reads_resets_of_counters_and_falls_of_gauges() -> None:
    counter = Watch(r={"kind": "rate", "metric": "m", "window": "1m", "above": 1})
    for second, value in [(0, 100), (10, 105), (20, 3), (30, 8)]:  # + 5, begins anew, + 3, + 5
        counter.at(second, value)
    assert counter.said == []
    assert [round(move.data["value"], 3) for move in counter.at(40, 60)] == [round((13 + 52) / 40, 3)]
    gauge = Watch(r={"kind": "rate", "metric": "m", "window": "1m", "counter": False, "below": -1})
    gauge.at(0, 100)
    assert [move.data["value"] for move in gauge.at(10, 80)] == [-2]


def test_absence_of_all_and_of_one_that_was_there() -> None:
    watch = Watch(
        all={"kind": "absence", "metric": "m", "window": "1m"},
        one={"kind": "absence", "metric": "m", "by": ["w"], "window": "1m"},
    )
    watch.at(100, 1, w="a")
    assert watch.said == []
    for second in range(110, 200, 10):
        watch.at(second, 1, w="b")
    assert [(move[0], move[1]) for move in watch.moves] == [(160, "ALERT_RAISED")]
    assert next(iter(watch.table.open.values())).labels == {"w": "a"}
    watch.judge(300)
    assert sorted(alert.rule for alert in watch.table.open.values()) == ["all", "one", "one"]
    watch.at(310, 1, w="a")
    assert [alert.labels for alert in watch.table.open.values()] == [{"w": "b"}]


def test_anomaly_finds_a_spike_and_not_a_season() -> None:
    watch = Watch(r={"kind": "anomaly", "metric": "m", "window": "1h"})
    for second in range(0, 3_600, 10):
        watch.at(second, 100 + 50 * math.sin(second / 1_800 * math.tau))
    assert watch.said == []
    assert watch.at(3_600, 1_000)[0].data["severity"] == "critical"


def test_burn_rate_needs_the_long_and_the_short_window() -> None:
    watch = Watch(r={"kind": "burn_rate", "bad": "bad", "total": "all", "objective": 0.99})
    bad = total = 0
    for second in range(0, 8_400, 10):
        total += 100
        bad += 20 if 3_600 <= second < 6_600 else 0  # a fifth: 20 times the budget
        watch.evaluator.history.add(second * _SECOND, "bad", {"topology": "t"}, bad)
        watch.evaluator.history.add(second * _SECOND, "all", {"topology": "t"}, total)
        watch.judge(second)
    # 6 in half an hour and in all that there is: after 3,600 s of nothing, 1,543 s of 20; 14.4 in an hour: after 2,592 s.
    (first, second_, last) = watch.said
    assert (first[1:], second_[1:], last[1:]) == (("RAISED", "warning"), ("RAISED", "critical"), ("CLEARED", ""))
    assert 3_600 + 1_530 <= first[0] <= 3_600 + 1_560
    assert 3_600 + 2_580 <= second_[0] <= 3_600 + 2_610
    assert 6_600 + 1_250 <= last[0] <= 6_600 + 1_280


def test_whoever_takes_over_knows_since_when_a_rule_holds() -> None:
    rule: dict[str, Any] = {"metric": "m", "above": 10, "for": "1m"}
    first, second = Watch(r=rule), Watch(r=rule)
    for at in range(0, 60, 10):
        first.at(at, 5 if at < 20 else 15)
        second.evaluator.history.add(at * _SECOND, "m", {}, 5 if at < 20 else 15)
    second.evaluator.warm(55 * _SECOND)
    for at in range(60, 100, 10):
        first.at(at, 15)
        second.at(at, 15)
    assert first.said == [(80, "RAISED", "warning")]
    assert second.said[0][0] in (80, 90)  # within one evaluation


def test_whoever_takes_over_knows_it_for_hours_and_looks_back_no_further_than_it_held() -> None:
    rule: dict[str, Any] = {"metric": "m", "above": 10, "for": "5h"}
    watch, now_s = Watch(r=rule, fine={**rule, "above": 1_000}), 20_000
    for at in (*range(0, now_s - 3_600, 60), *range(now_s - 3_600, now_s, 10)):  # as it is thinned
        watch.evaluator.history.add(at * _SECOND, "m", {}, 5 if at < 6_000 else 15)
    watch.evaluator.warm(now_s * _SECOND)
    assert watch.at(now_s, 15) == []
    for at in range(now_s + 10, 24_300, 10):
        watch.at(at, 15)
    assert [move[1] for move in watch.moves] == ["ALERT_RAISED"]
    assert 6_000 + 5 * 3_600 - 120 <= watch.moves[0][0] <= 6_000 + 5 * 3_600 + 120


def test_what_goes_away_is_cleared() -> None:
    watch = Watch(r={"metric": "m", "above": 10})
    watch.at(10, 15)
    watch.judge(30)
    assert len(watch.table.open) == 1
    watch.judge(50)  # three samples are missing
    assert watch.said[-1][1] == "CLEARED"
    watch.at(200, 15)
    watch.evaluator = Evaluator({}, "ns", 10 * _SECOND)
    assert watch.judge(210)[0].data["reason"] == "there is no such rule any more"


def test_every_problem_of_a_file_is_told_at_once(tmp_path: Any) -> None:
    path = tmp_path / "alerts.yaml"
    path.write_text(
        """
        rules:
          one: {metric: m}
          two: {kind: nonsense}
          Three: {metric: m, above: 1}
          four: {metric: m, above: 1, route: nowhere, fro: 1m}
        notifiers:
          chat: {kind: slack, url: "https://hooks.slack.com/x"}
          mail: {kind: email, host: h, sender: a@b.de, to: [nobody], password: plain}
        routes:
          default: {tiers: [{to: [chat]}]}
        surplus: 1
        """
    )
    with pytest.raises(TopologyError) as found:
        load_alerts(path)
    places = [problem.place for problem in found.value.problems]
    assert set(places) == {
        "surplus", "rules.one", "rules.two", "rules.Three", "rules.four.fro", "notifiers.chat.url",
        "notifiers.mail.to", "notifiers.mail.password", "routes.default.tiers.0.to",
    }  # fmt: skip
    assert all(problem.line is not None for problem in found.value.problems)


def test_a_clock_that_was_ahead_does_not_shut_a_series() -> None:
    history = Evaluator({}, "ns", 10 * _SECOND).history
    metric = "queue_size"
    for said_s, now_s, value in ((100, 100, 1), (90_000, 110, 2), (120, 120, 3)):  # the second clock was set back
        sample = orjson.dumps({"worker": "w", "at": said_s * _SECOND, "points": [[metric, {}, value]]})
        for at_ms, name, labels, found in points_in(sample, now_s * _SECOND):
            history.add(at_ms, name, labels, found)
    assert history.select(metric, {})[0].values == [1, 2, 3]
