"""Metrics that nodes declare: what is shown, what cannot be declared, and that nothing grows without bound."""

import pytest

from streamflow.kit import Counter, Gauge, indicators
from streamflow.kit.indicators import INDICATORS_MAX, SERIES_MAX
from streamflow.metrics.families import Metrics
from streamflow.metrics.samples import points_of


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indicators, "_declared", {})


def _shown() -> dict[tuple[str, ...], float]:
    metrics = Metrics()
    metrics.declared.of = "shop", indicators.indicators
    assert "streamflow_user" in metrics.render("")[0].decode()
    return {
        (name.removeprefix("streamflow_user_"), *labels.values()): number
        for name, labels, number in points_of(metrics.registry)
        if name.startswith("streamflow_user_")
    }


def test_counters_and_gauges_are_on_the_page_and_among_the_points() -> None:
    refunded = Counter("refunded_amount", "money", labels=["country"])
    waiting = Gauge("waiting", "orders")
    refunded.add(2.5, "DE")
    refunded.add(1, "DE")
    refunded.add(1, 'a"b\n')
    assert _shown() == {
        ("refunded_amount_total", "shop", "DE"): 3.5,
        ("refunded_amount_total", "shop", 'a"b\n'): 1,
        ("waiting", "shop"): 0,
    }
    waiting.set(7)
    waiting.set(4)
    assert _shown()["waiting", "shop"] == 4


def test_the_same_declared_twice_is_one_and_another_of_its_name_is_refused() -> None:
    assert Counter("seen", "rows") is Counter("seen", "rows")
    for make in (lambda: Gauge("seen", "rows"), lambda: Counter("seen", "rows", labels=["kind"])):
        with pytest.raises(ValueError, match="there is another indicator 'seen'"):
            make()


@pytest.mark.parametrize(
    ("name", "labels", "said"),
    [
        ("Seen", [], "cannot be a name"),
        ("seen-rows", [], "cannot be a name"),
        ("s" * 61, [], "cannot be a name"),
        ("seen", ["topology"], "cannot be a name"),
        ("seen", ["a b"], "cannot be a name"),
        ("seen", list("abcdef"), "5 at most"),
    ],
)
def test_what_cannot_be_declared(name: str, labels: list[str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Counter(name, "", labels)
    assert list(indicators.indicators()) == []


def test_wrong_numbers_and_labels_are_refused() -> None:
    seen = Counter("seen", "rows", labels=["kind"])
    for number in (-1, float("nan")):
        with pytest.raises(ValueError, match="use a Gauge"):
            seen.add(number, "a")
    with pytest.raises(ValueError, match="not 0 of them"):
        seen.add()
    assert not seen.numbers


def test_nothing_grows_without_bound() -> None:
    seen = Counter("seen", "rows", labels=["kind", "size"])
    for number in range(SERIES_MAX + 50):
        seen.add(1, number, "x" * 1_000)
    assert len(seen.numbers) == SERIES_MAX + 1
    assert seen.numbers["other", "other"] == 50
    seen.add(1, 3, "x" * 2_000)
    assert seen.numbers["3", "x" * 100] == 2
    for number in range(INDICATORS_MAX - 1):
        Gauge(f"g{number}", "")
    with pytest.raises(ValueError, match="100 indicators at most"):
        Gauge("more", "")
