"""Versions in the engine: pinned, latest with swaps at checkpoints and crashes, split by key, in the shadow."""

from collections import Counter
from typing import Any

import msgspec
import pytest

from streamflow.errors import ModelError, StateMismatch, TopologyError
from streamflow.inference.card import ModelCard, Task, newest
from streamflow.inference.files import ModelFiles
from streamflow.inference.models import Models
from streamflow.plan.planner import make_plan
from streamflow.testing.driver import CrashPoint, Driver
from streamflow.testing.sample_models import MemoryFiles, linear_model
from streamflow.topology.document import spec_of

REGISTRY = "streamflow.models"


def document(**config: Any) -> dict[str, Any]:
    """rows (x) → two models, the second over the first's result → window per key."""
    return {
        "topology": "t",
        "schemas": {"Row": {"time": "timestamp", "id": "str", "x": "float"}},
        "nodes": {
            "rows": {"kind": "source", "topic": "rows", "schema": "Row", "event_time": "time", "key": "id"},
            "first": {"kind": "model", "input": "rows", "model": "m", "task": "regression", "features": ["x"]} | config,
            "second": {
                "kind": "model", "input": "first", "model": "n", "task": "regression", "prefix": "n_",
                "features": ["prediction", "x"],
            },
            "out": {"kind": "sink", "input": "second", "topic": "out"},
        },
    }  # fmt: skip


def card(files: MemoryFiles, version: str, slope: float) -> ModelCard:
    """prediction = slope · x"""
    return linear_model(files, "m", version, [[slope]])


def driver(files: MemoryFiles, cards: list[ModelCard], config: dict[str, Any], **shape: Any) -> Driver:
    made = Driver(make_plan(spec_of(document(**config))), models=Models(files, 1 << 20), **shape)
    for each in [*cards, linear_model(files, "n", "7", [[10.0, 1.0]])]:
        made.put(REGISTRY, *each.record())
    return made


def publish(to: Driver, ids: range) -> None:
    events = [{"time": 1_000_000 + each, "id": f"k{each}", "x": float(each)} for each in ids]
    to.publish("rows", events, timestamp_ms=1_000_000)


def check(rows: list[dict[str, Any]], slopes: dict[str, float]) -> None:
    """Every row says which version scored it, and was scored by that one."""
    for row in rows:
        assert row["prediction"] == slopes[row["model_version"]] * row["x"], row
        assert row["n_prediction"] == 10 * row["prediction"] + row["x"], row
        assert row["n_model_version"] == "7"


def test_models_that_nobody_asks_are_not_loaded() -> None:
    """However large they are: the file of one is not even there."""
    files = MemoryFiles()
    unused = msgspec.structs.replace(card(files, "1", 2.0), name="large", digest="0" * 64, size_bytes=1 << 40)
    made = driver(files, [card(files, "1", 2.0), card(files, "2", 3.0), unused], {}, chunk_size=10)
    models = made._resources.models
    assert models is not None
    publish(made, range(15))
    assert models.loads == 0, "nor any before there is work"
    made.run()
    check(made.output("out"), {"2": 3.0})
    assert models.loads == 2


def test_the_latest_is_swapped_at_a_checkpoint_and_only_there() -> None:
    files = MemoryFiles()
    made = driver(files, [card(files, "1.9", 2.0)], {}, chunk_size=10, checkpoint_every=3)
    publish(made, range(15))
    made.run()
    # 1.10 is newer than 1.9; it comes while a checkpoint is open and counts from the next one on.
    made.put(REGISTRY, *card(files, "1.10", 3.0).record())
    publish(made, range(15, 100))
    made.run()
    rows = made.output("out")
    check(rows, {"1.9": 2.0, "1.10": 3.0})
    versions = [row["model_version"] for row in rows]
    assert versions == ["1.9"] * 45 + ["1.10"] * 55  # after three chunks of ten
    # Older ones that come late change nothing; when the newest is taken back, the next best is used.
    made.put(REGISTRY, *card(files, "1.2", 9.0).record())
    made.delete(REGISTRY, "m@1.10")
    made.idle(10)
    publish(made, range(100, 110))
    made.run()
    assert [row["model_version"] for row in made.output("out")[100:]] == ["1.9"] * 10


@pytest.mark.parametrize("point", list(CrashPoint))
def test_rows_that_are_done_again_are_scored_by_the_same_version(point: CrashPoint) -> None:
    """A newer version is there before the crash, but not in the committed checkpoint."""

    def versions(crashes: dict[int, CrashPoint]) -> list[tuple[str, str]]:
        files = MemoryFiles()
        made = driver(files, [card(files, "1", 2.0)], {}, chunk_size=5, checkpoint_every=4)
        made.crash_at = crashes
        publish(made, range(20))
        made.run()
        made.put(REGISTRY, *card(files, "2", 3.0).record())
        publish(made, range(20, 60))
        made.run()
        check(made.output("out"), {"1": 2.0, "2": 3.0})
        return [(row["id"], row["model_version"]) for row in made.output("out")]

    undisturbed = versions({})
    assert Counter(version for _, version in undisturbed) == {"1": 40, "2": 20}
    for number in range(1, 5):
        assert versions({number: point}) == undisturbed, number


def _continued(before: Driver, document: dict[str, Any], files: MemoryFiles) -> Driver:
    """Another topology goes on where one stood."""
    after = Driver(make_plan(spec_of(document)), models=Models(files, 1 << 20))
    after.log.partitions.update(before.log.partitions)
    after.log.committed.update(before.log.committed)
    return after


def _without_first() -> dict[str, Any]:
    changed = document()
    del changed["nodes"]["first"]
    changed["nodes"]["second"] |= {"input": "rows", "features": ["x", "x"]}
    return changed


def test_a_node_that_is_added_before_another_does_not_take_its_version() -> None:
    files = MemoryFiles()
    before = Driver(make_plan(spec_of(_without_first())), models=Models(files, 1 << 20))
    for each in (card(files, "7", 2.0), card(files, "8", 3.0), linear_model(files, "n", "7", [[10.0, 1.0]])):
        before.put(REGISTRY, *each.record())
    publish(before, range(3))
    before.run()
    before.put(REGISTRY, *linear_model(files, "n", "8", [[0.0, 0.0]]).record())
    after = _continued(before, document(), files)
    publish(after, range(3, 6))
    after.run()
    rows = after.output("out")[3:]
    assert [row["model_version"] for row in rows] == ["8"] * 3
    check(rows, {"8": 3.0})


def test_versions_of_an_older_release_are_read_while_the_nodes_are_the_same() -> None:
    files = MemoryFiles()
    before = driver(files, [card(files, "1", 2.0)], {})
    publish(before, range(3))
    before.run()
    before.put(REGISTRY, *card(files, "2", 3.0).record())
    [(place, (offset, text))] = before.log.committed.items()
    assert "@first=1,second=7" in text
    before.log.committed[place] = offset, text.replace("@first=1,second=7", "@1,7")
    after = _continued(before, document(), files)
    publish(after, range(3, 6))
    after.run()
    assert [row["model_version"] for row in after.output("out")] == ["1"] * 6
    check(after.output("out"), {"1": 2.0})
    publish(before, range(3, 6))
    with pytest.raises(StateMismatch, match="run the topology as it was before"):
        _continued(before, _without_first(), files).run()


def test_an_idle_task_takes_a_new_version_too() -> None:
    files = MemoryFiles()
    made = driver(files, [card(files, "1", 2.0)], {})
    publish(made, range(5))
    made.run()
    made.put(REGISTRY, *card(files, "2", 3.0).record())
    made.idle(10)
    publish(made, range(5, 10))
    made.run()
    assert [row["model_version"] for row in made.output("out")] == ["1"] * 5 + ["2"] * 5


def test_a_split_by_key_is_stable_and_as_large_as_asked(caplog: pytest.LogCaptureFixture) -> None:
    files = MemoryFiles()
    cards = [card(files, "1", 2.0), card(files, "2", 3.0), card(files, "3", 4.0)]
    made = driver(files, cards, {"version": {"1": 70, "2": 20, "latest": 10}}, partitions=4)
    publish(made, range(4_000))
    publish(made, range(4_000))
    made.run()
    rows = made.output("out")
    check(rows, {"1": 2.0, "2": 3.0, "3": 4.0})
    by_key: dict[str, set[str]] = {}
    for row in rows:
        by_key.setdefault(row["id"], set()).add(row["model_version"])
    assert all(len(each) == 1 for each in by_key.values())
    shares = Counter(next(iter(each)) for each in by_key.values())
    assert [round(shares[version] / 4_000, 1) for version in "123"] == [0.7, 0.2, 0.1]
    # In each partition too: the hash is another one than that of partitions.
    for partition in range(4):
        mine = [record for record in made.log.partitions["out", partition].records if record.value]
        second = sum(b'"model_version":"2"' in (record.value or b"") for record in mine)
        assert 0.15 < second / len(mine) < 0.25


def test_a_shadow_is_asked_and_never_harms() -> None:
    files = MemoryFiles()
    cards = [card(files, "1", 2.0), card(files, "2", 1e308)]
    made = driver(files, cards, {"version": "1", "shadow": "2"})
    publish(made, range(4))
    made.run()
    rows = made.output("out")
    check(rows, {"1": 2.0})
    # 1e308 · 2 is no number of 64 bits: the shadow's rows are null, its neighbours are there.
    assert [(row["shadow_prediction"], row["shadow_model_version"]) for row in rows] == [
        (0.0, "2"), (1e308, "2"), (None, None), (None, None)
    ]  # fmt: skip


def test_a_number_that_is_none_is_put_aside() -> None:
    files = MemoryFiles()
    made = driver(files, [card(files, "1", 1e308)], {})
    publish(made, range(4))
    made.run()
    letters = [(letter["sf-node"], letter["sf-reason"], letter["sf-offset"]) for letter in made.dead_letters()]
    assert letters == [("second", "model_output", "1"), ("first", "model_output", "2"), ("first", "model_output", "3")]


def test_what_does_not_fit_is_refused_when_the_task_opens() -> None:
    files = MemoryFiles()

    def refusal(cards: list[ModelCard], **config: Any) -> str:
        made = driver(files, cards, config)
        publish(made, range(1))
        with pytest.raises(ModelError) as caught:
            made.run()
        return str(caught.value)

    assert "'m' is not in topic streamflow.models; add it with `streamflow models add m`" in refusal([])
    assert "version 3 of model 'm' is not in topic" in refusal([card(files, "1", 2.0)], version="3")
    two = linear_model(files, "m", "1", [[1.0, 2.0]])
    assert "its inputs are x0 (number), x1 (number), the node gives number" in refusal([two])
    classes = linear_model(files, "m", "1", [[1.0], [2.0]], Task.CLASSIFICATION)
    assert "does classification, the node says regression" in refusal([classes])
    gone = ModelCard("m", "1", "linear", Task.REGRESSION, "0" * 64, 1, card(files, "1", 1.0).inputs)
    assert "was not added" in refusal([gone])


def test_a_newer_version_that_cannot_be_used_leaves_the_present_one(caplog: pytest.LogCaptureFixture) -> None:
    files = MemoryFiles()
    made = driver(files, [card(files, "1", 2.0)], {})
    publish(made, range(3))
    made.run()
    gone = ModelCard("m", "2", "linear", Task.REGRESSION, "0" * 64, 1, card(files, "1", 1.0).inputs)
    made.put(REGISTRY, *gone.record())
    made.idle(10)
    publish(made, range(3, 6))
    made.run()
    assert [row["model_version"] for row in made.output("out")] == ["1"] * 6
    assert "the newest version is not used: the file of model m@2 was not added" in caplog.text


def test_what_a_configuration_says_wrong() -> None:
    problems = []
    for config in (
        {"features": ["y"]},
        {"version": {"1": 50, "2": 40}},
        {"version": "first"},
        {"top_k": 3},
        {"prefix": "a b"},
        {"features": ["x"], "task": "magic"},
    ):
        with pytest.raises(TopologyError) as caught:
            make_plan(spec_of(document(**config)))
        problems.append(str(caught.value))
    assert "unknown field 'y'" in problems[0]
    assert "add up to 100" in problems[1]
    assert "'first' is no version" in problems[2]
    assert "regression has no classes" in problems[3]
    assert "is not allowed" in problems[4]
    assert "nodes.first.task" in problems[5]


def test_newest_is_by_number() -> None:
    assert newest(["1.9", "1.10", "1.2.3"]) == "1.10"
    assert newest([]) is None


def test_models_of_a_folder(tmp_path: Any) -> None:
    files = ModelFiles(tmp_path)
    digest = files.add(b"abc")
    held = ModelCard("m", "1", "linear", Task.REGRESSION, digest, 3, ())
    assert files.read(held) == b"abc"
    (tmp_path / digest).write_bytes(b"abd")
    with pytest.raises(ModelError, match="its digest differs"):
        files.read(held)
    with pytest.raises(ModelError, match="STREAMFLOW_MODELS_DIR"):
        files.read(ModelCard("m", "2", "linear", Task.REGRESSION, "f" * 64, 3, ()))
    elsewhere = tmp_path / "else where"
    elsewhere.write_bytes(b"there")
    other = ModelFiles(tmp_path / "other")
    digest = ModelFiles(tmp_path / "third").add(b"there")
    assert other.read(ModelCard("m", "3", "linear", Task.REGRESSION, digest, 5, (), elsewhere.as_uri())) == b"there"
