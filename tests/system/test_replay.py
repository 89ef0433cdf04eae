"""Replays into a run of its own, and resets, beside a live run."""

import json
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from streamflow.cli.main import app
from streamflow.model.position import encode_token
from tests.system.test_bounded import Runs, encoded, given, kill, sales, totals

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]


@pytest.fixture
def runs(kafka: str, tmp_path: Path, unique: str) -> Iterator[Runs]:
    made = Runs(kafka, tmp_path, unique)
    yield made
    for process in made.processes:
        kill(process)


def _stop(runs: Runs, process: "subprocess.Popen[bytes]") -> None:
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0, runs.log()


def _compare(runs: Runs, first: str, second: str, *options: str) -> Result:
    arguments = ["replay", "compare", str(runs.folder), first, second, "--brokers", runs.kafka, *options]
    return CliRunner().invoke(app, arguments)


def test_a_replay_begins_where_it_is_told_and_leaves_the_live_run_alone(runs: Runs) -> None:
    events = sales(3_000)
    runs.publish(encoded(events))
    live = runs.command("run", "--port", "0")
    runs.wait_written(".by_city.repartition", 2_000)
    code, _ = runs.run("--from", "500", "--into", "again")
    assert code == 0, runs.log()
    # Published in turn to three partitions, so offset 500 is event 1,500.
    assert given(runs.read(f"{runs.name}.totals.again")) == sorted(totals(events[1_500:]).items())
    assert runs.run("--from", "2999-01-01", "--into", "none")[1]["sources"][0]["start"] == 1_000
    assert runs.run("--from", "2001-01-01", "--into", "all")[0] == 0
    assert given(runs.read(f"{runs.name}.totals.all")) == sorted(totals(events).items())
    token = encode_token({f"{runs.name}.sales": {0: 900, 1: 900, 2: 900}})
    assert runs.run("--from", token, "--into", "token")[0] == 0
    assert given(runs.read(f"{runs.name}.totals.token")) == sorted(totals(events[2_700:]).items())
    assert runs.run("--from", "100", "--to", "500", "--into", "part")[0] == 0
    assert given(runs.read(f"{runs.name}.totals.part")) == sorted(totals(events[300:1_500]).items())
    assert runs.command("run", "--bounded", "--to", "600", "--into", "part").wait(60) == 2, "it has another end"
    assert runs.run("--to", "2999-01-01", "--into", "whole")[0] == 0
    assert _compare(runs, "all", "whole").exit_code == 0, "whatever order their commits had"
    compared = _compare(runs, "all", "part", "--json")
    (sink,) = json.loads(compared.stdout)
    counts = Counter(totals(events).items()), Counter(totals(events[300:1_500]).items())
    assert (compared.exit_code, sink["rows"]) == (1, [counts[0].total(), counts[1].total()])
    assert set(totals(events)) == set(totals(events[300:1_500]))
    ignored = "--ignore", "n", "--ignore", "total"
    assert _compare(runs, "all", "part", *ignored).exit_code == 0, "the same windows, with other results"
    assert sink["only"] == [(counts[0] - counts[1]).total(), (counts[1] - counts[0]).total()]
    assert len(sink["shown"][0]) == min(10, sink["only"][0])
    assert _compare(runs, "all", "never").exit_code == 2, "there is no such run"
    assert runs.run("--from", "yesterday", "--into", "never")[0] == 2
    streaming = runs.command("run", "--from", "earliest", "--into", "beside", "--port", "0")
    runs.wait_written(".by_city.repartition.beside", 2_000)
    for process in (streaming, live):
        assert process.poll() is None, runs.log()
        _stop(runs, process)
    assert runs.command("run", "--bounded", "--into", "beside").wait(60) == 2, "it has begun without an end"
    assert runs.command("run", "--from", "earliest").wait(60) == 2, "the live run has run before"


def test_a_reset_lists_asks_refuses_and_forgets(runs: Runs) -> None:
    events = sales(600)
    runs.publish(encoded(events))
    assert runs.run("--into", "one")[0] == 0
    assert runs.command("reset", "--into", "one").communicate()[0].count(b".one") >= 5, "listed, and not confirmed"
    assert runs.written(f"{runs.name}.totals.one") > 0
    state, elsewhere = runs.folder / "state" / "worker-0" / f"{runs.name}.one", runs.folder / "elsewhere"
    shutil.copytree(state, elsewhere)
    assert runs.command("reset", "--into", "one", "--yes").wait(60) == 0, runs.log()
    assert runs.written(f"{runs.name}.totals.one") == 0
    assert not state.exists()
    tables = list(elsewhere.glob("by_city.*"))
    assert tables
    for each in tables:  # on another machine reset does not see them: they are not taken for what the new run has
        shutil.copytree(each, state / each.name)
    more = sales(300, seed=2)
    runs.publish(encoded(more))
    code, report = runs.run("--into", "one")
    assert (code, report["sources"][0]["start"]) == (0, 0)
    assert given(runs.read(f"{runs.name}.totals.one")) == sorted(totals(events + more).items())
    live = runs.command("run", "--port", "0")
    runs.wait_written(".by_city.repartition", 600)
    assert runs.command("reset", "--yes").wait(60) == 2, "workers are alive"
    _stop(runs, live)
    assert runs.command("reset", "--yes").wait(60) == 0, runs.log()
    assert runs.written(f"{runs.name}.by_city.repartition") == 0
    assert runs.written(f"{runs.name}.sales") == 900, "sources stay"
    again = runs.command("run", "--from", "earliest", "--port", "0")
    runs.wait_written(".by_city.repartition", 600)
    _stop(runs, again)
    assert json.loads(runs.command("topics", "--json").communicate()[0])
