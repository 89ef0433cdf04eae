"""House rules that a program can check."""

import ast
import re
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from streamflow.cli.main import app

_ROOT = Path(__file__).parent.parent.parent
_MODULES = sorted(path for path in (_ROOT / "streamflow").rglob("*.py"))
_DOCUMENTS = [
    path for place in ("*.md", "docs/**/*.md", "helm/*.md", "topologies/**/*.md") for path in _ROOT.glob(place)
]
_CLI: Any = get_command(app)
_FORBIDDEN_NAMES = {"utils", "util", "helpers", "helper", "common", "manager"}
_TEXTS = [
    *_MODULES,
    *sorted((_ROOT / "tests").rglob("*.py")),
    *sorted(_ROOT.glob("*.md")),
    *sorted((_ROOT / "docs").rglob("*.md")),
]


@pytest.mark.parametrize("path", _MODULES, ids=lambda path: str(path.relative_to(_ROOT)))
def test_modules_and_functions_are_small_and_say_what_they_are(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= 600, "one idea per module"
    assert path.stem not in _FORBIDDEN_NAMES
    tree = ast.parse(text)
    assert ast.get_docstring(tree), "a module says what it is"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or 0) - node.lineno + 1
            assert length <= 60, f"{node.name} has {length} lines"
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{node.name} needs a docstring"


@pytest.mark.parametrize("path", _TEXTS, ids=lambda path: str(path.relative_to(_ROOT)))
def test_nothing_is_left_over(path: Path) -> None:
    text = path.read_text()
    marks = re.findall(r"\b(?:TO" + r"DO|FIX" + r"ME|XX" + r"X)\b", text)
    assert not marks
    assert not re.search(r"(?<![\w.])/(?:ro" + r"ot|wo" + r"rk|ho" + r"me)/[a-z.]", text), "no machine paths"


def test_links_between_documents_lead_somewhere() -> None:
    links = [
        (path, path.parent / link if link else path, anchor)
        for path in _DOCUMENTS
        for link, anchor in re.findall(r"\]\(([^)#:\s]*)(?:#([^)]*))?\)", path.read_text())
    ]
    assert len(links) > 100
    assert [f"{path.name}: {to}" for path, to, _ in links if not to.exists()] == []
    lost = [f"{path.name}: {to.name}#{anchor}" for path, to, anchor in links if anchor and anchor not in _anchors(to)]
    assert lost == []


def _anchors(path: Path) -> set[str]:
    """Of the headings of a document, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_commands_that_documents_name_exist_with_their_options() -> None:
    named = [
        (path, line)
        for path in _DOCUMENTS
        for code in re.findall(r"^```.*?^```|^    [^\n]*|`[^`\n]+`", path.read_text(), re.MULTILINE | re.DOTALL)
        for line in re.findall(r"(?:^ *|^`)streamflow ([a-z][^`#\n]*)", code, re.MULTILINE)
    ]
    assert len(named) > 100
    assert [f"{path.name}: {line}" for path, line in named if not _is_command(line)] == []


def _is_command(line: str) -> bool:
    words = re.split(r"\s+", line.split("|")[0].strip())
    command: Any = _CLI
    while words and hasattr(command, "commands") and words[0] in command.commands:
        command = command.commands[words.pop(0)]
    known = {option for each in command.params for option in (*each.opts, *each.secondary_opts)}
    given = {found[0] for word in words if (found := re.match(r"--[a-z-]+", word))}
    return command is not _CLI and given <= known | {"--help"}


def test_tests_that_documents_name_exist() -> None:
    texts = [path.read_text() for path in (_ROOT / "docs").rglob("*.md")]
    named = [found for text in texts for found in re.findall(r"(tests/[\w/]+\.py)::(\w+)", text)]
    assert len(named) > 30
    missing = [f"{path}::{name}" for path, name in named if f"def {name}(" not in (_ROOT / path).read_text()]
    assert missing == []


@pytest.mark.parametrize("path", _MODULES, ids=lambda path: str(path.relative_to(_ROOT)))
def test_every_client_of_kafka_connects_as_the_settings_say(path: Path) -> None:
    assert "bootstrap_servers=" not in path.read_text(), "runtime/connection.py knows TLS and users: **connection(…)"
