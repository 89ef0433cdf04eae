"""Kinds of other packages: real distributions with entry points, on a path of their own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from streamflow.errors import InternalError
from streamflow.nodes.filter import Filter
from streamflow.nodes.registry import KINDS

_KIND = '''
from streamflow.nodes.pass_through import PassThrough
class Mine(PassThrough):
    """Passes rows on."""
    kind = "{kind}"
'''


def install(folder: Path, package: str, points: dict[str, str], **modules: str) -> None:
    """A package with entry points, as pip leaves it."""
    about = folder / f"{package}-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    lines = [f"{name} = {value}" for name, value in points.items()]
    (about / "entry_points.txt").write_text("[streamflow.nodes]\n" + "\n".join(lines) + "\n")
    for name, text in modules.items():
        (folder / f"{name}.py").write_text(text)


def said(folder: Path, code: str) -> str:
    """What a fresh process with these packages prints."""
    environment = {**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{os.getcwd()}"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


_TOPOLOGY = """
from streamflow.errors import TopologyError
from streamflow.plan.planner import make_plan
from streamflow.topology.yaml_file import parse_topology
try:
    plan = make_plan(parse_topology('''
topology: t
schemas: {R: {a: int}}
nodes:
  in_: {kind: source, topic: t.in, schema: R}
  it:  {kind: KIND, input: in_}
  out: {kind: sink, input: it, topic: t.out}
'''))
    print([node.kind for stage in plan.stages for node in stage.nodes])
except TopologyError as error:
    print(error)
"""


def test_a_plug_in_is_used_like_a_built_in_kind(tmp_path: Path) -> None:
    install(tmp_path, "mine", {"mine": "mine_kind:Mine"}, mine_kind=_KIND.format(kind="mine"))
    assert said(tmp_path, _TOPOLOGY.replace("KIND", "mine")) == "['mine', 'sink']\n"
    assert "did you mean mine?" in said(tmp_path, _TOPOLOGY.replace("KIND", "mien"))


def test_a_broken_plug_in_is_told_and_costs_the_others_nothing(tmp_path: Path) -> None:
    points = {
        "mine": "mine_kind:Mine",
        "missing": "no_such_module:Kind",
        "raising": "raising:Kind",
        "other": "mine_kind:Mine",
        "plain": "plain:Kind",
        "filter": "mine_kind:Mine",
    }
    modules = {"mine_kind": _KIND.format(kind="mine"), "raising": "1 / 0", "plain": "class Kind: pass"}
    install(tmp_path, "mine", points, **modules)
    printed = said(
        tmp_path,
        "from streamflow.nodes.registry import KINDS\nprint('mine' in KINDS, len(KINDS.broken))\n"
        "print('\\n'.join(f'{k}: {v}' for k, v in KINDS.broken.items()))",
    ).splitlines()
    assert printed[0] == "True 5"
    told = dict(line.split(": ", 1) for line in printed[1:])
    assert told["filter"] == "mine_kind:Mine takes the name of a built-in kind; rename it"
    assert told["missing"].startswith("no_such_module:Kind cannot be used: ModuleNotFoundError")
    assert told["raising"].startswith("raising:Kind cannot be used: ZeroDivisionError")
    assert "the entry point is 'other', but the kind is 'mine'" in told["other"]
    assert "is no node kind" in told["plain"]
    refused = said(tmp_path, _TOPOLOGY.replace("KIND", "raising"))
    assert "unknown kind 'raising' (its plug-in raising:Kind cannot be used: ZeroDivisionError" in refused


def test_two_plug_ins_of_one_name_are_both_refused(tmp_path: Path) -> None:
    """What a topology means must not depend on which was installed first."""
    for package in ("one", "two"):
        install(tmp_path, package, {"mine": f"{package}_kind:Mine"}, **{f"{package}_kind": _KIND.format(kind="mine")})
    code = "from streamflow.nodes.registry import KINDS\nprint('mine' in KINDS, dict(KINDS.broken))"
    expected = {"mine": "one_kind:Mine and two_kind:Mine have one name; uninstall or rename one"}
    assert said(tmp_path, code) == f"False {expected}\n"


def test_a_kind_can_be_lent_for_its_tests() -> None:
    class Mine(Filter):
        """Passes some rows."""

        kind = "lent_kind"

    with KINDS.lent(Mine):
        assert KINDS["lent_kind"].kind == "lent_kind"
    assert "lent_kind" not in KINDS

    class Other(Filter):
        """Has a name that is taken."""

    with pytest.raises(InternalError, match="'filter' is registered by Filter already"), KINDS.lent(Other):
        pass
    with KINDS.lent(Filter):
        pass
    assert "filter" in KINDS
