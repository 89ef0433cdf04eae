"""streamflow nodes: the catalogue, and a new kind whose tests pass."""

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.cli.test_commands import _streamflow


def test_the_kinds_are_listed_and_shown() -> None:
    done = _streamflow("nodes")
    assert done.returncode == 0
    assert "deduplicate" in done.stdout
    found = json.loads(_streamflow("nodes", "--category", "utility", "--json").stdout)
    assert {each["category"] for each in found["kinds"]} == {"utility"}
    shown = _streamflow("nodes", "show", "deduplicate")
    assert "rows of its id are duplicates" in " ".join(shown.stdout.replace("│", " ").split())
    assert json.loads(_streamflow("nodes", "show", "sample", "--json").stdout)["schema"]["required"] == ["rate"]


def test_an_unknown_kind_is_refused_with_the_nearest() -> None:
    done = _streamflow("nodes", "show", "windo")
    assert (done.returncode, "did you mean window?" in done.stderr) == (2, True)


def test_the_tests_of_a_new_kind_pass(tmp_path: Path) -> None:
    done = _streamflow("nodes", "new", "add_some", "--to", str(tmp_path / "kinds"))
    assert done.returncode == 0, done.stderr
    assert 'add_some = "your_package.add_some:AddSome"' in done.stdout
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_add_some.py"]
    run = subprocess.run(command, cwd=tmp_path / "kinds", env=environment, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stdout
    assert "11 passed" in run.stdout
    again = _streamflow("nodes", "new", "add_some", "--to", str(tmp_path / "kinds"))
    assert (again.returncode, "is there already; nothing is written" in " ".join(again.stderr.split())) == (2, True)


def test_names_that_cannot_be_used_are_refused(tmp_path: Path) -> None:
    for name, said in (("filter", "there is a kind"), ("Add", "is not allowed"), ("class", "choose another")):
        done = _streamflow("nodes", "new", name, "--to", str(tmp_path))
        assert (done.returncode, said in done.stderr) == (2, True)
    assert list(tmp_path.iterdir()) == []
