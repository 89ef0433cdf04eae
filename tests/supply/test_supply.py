"""What is locked and pinned, and the judge of it."""

import re
import tomllib
from datetime import date
from pathlib import Path

import pytest

from tests.supply.__main__ import verdict
from tests.supply.advisories import Finding, findings, locked, newest

_ADVISORY = """
id: {id}
modified: 2026-0{month}-02T03:04:05Z
{withdrawn}
affected:
- package: {{ecosystem: PyPI, name: Some_Thing}}
  ranges:
  - {{type: GIT, events: [{{introduced: "0"}}]}}
  - {{type: ECOSYSTEM, events: [{{introduced: "1.0"}}, {{fixed: "1.10"}}, {{introduced: "2.0"}}, {{last_affected: "2.1"}}]}}
  versions: ["0.9.post1"]
"""


@pytest.fixture
def advisories(tmp_path: Path) -> Path:
    folder = tmp_path / "vulns" / "some-thing"
    folder.mkdir(parents=True)
    (folder / "PYSEC-2026-1.yaml").write_text(_ADVISORY.format(id="PYSEC-2026-1", month=5, withdrawn=""))
    gone = _ADVISORY.format(id="PYSEC-2026-2", month=7, withdrawn="withdrawn: 2026-07-02T00:00:00Z")
    (folder / "PYSEC-2026-2.yaml").write_text(gone)
    return tmp_path


@pytest.mark.parametrize(
    ("version", "is_known"),
    [
        ("0.8", False),
        ("0.9.post1", True),
        ("1.0", True),
        ("1.9.9", True),
        ("1.10", False),
        ("2.1", True),
        ("2.2", False),
    ],
)
def test_a_version_within_an_advisory_is_found(advisories: Path, version: str, is_known: bool) -> None:
    found = findings([("some-thing", version), ("some-thing", "3"), ("another", "1.5")], advisories)
    assert found == ([Finding("some-thing", version, "PYSEC-2026-1")] if is_known else [])
    assert newest(advisories) == date(2026, 7, 2)


def test_a_folder_without_advisories_is_no_answer(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no advisories"):
        newest(tmp_path)


@pytest.mark.parametrize(
    ("known", "silent", "newest_day", "code"),
    [
        ([], {}, None, 0),
        ([], {"a.lock": "no answer"}, None, 2),
        ([], {"a.lock": "no answer"}, date(2026, 6, 30), 0),
        ([], {"a.lock": "no answer"}, date(2026, 6, 29), 2),
        ([], {}, date(2026, 6, 29), 0),
        (["some-thing 1.0: PYSEC-2026-1"], {"a.lock": "no answer"}, date(2026, 6, 29), 1),
    ],
)
def test_old_advisories_are_no_answer(
    known: list[str], silent: dict[str, str], newest_day: date | None, code: int
) -> None:
    assert verdict(known, silent, newest_day, date(2026, 7, 30))[0] == code


def test_every_lock_is_read_whole(root: Path) -> None:
    for lock in (root / "requirements.lock", *(root / "requirements").glob("*.lock")):
        lines = lock.read_text().splitlines()
        packages = [index for index, line in enumerate(lines) if line and line[0] not in " #"]
        assert len(locked(lock)) == len(packages) > 50
        for first, behind in zip(packages, [*packages[1:], len(lines)], strict=True):
            assert any("--hash=sha256:" in line for line in lines[first:behind]), lines[first]


def test_every_extra_of_a_worker_is_locked_and_named_where_images_are_built(root: Path) -> None:
    extras = set(tomllib.loads((root / "pyproject.toml").read_text())["project"]["optional-dependencies"])
    extras -= {"dev", "fuzz", "bench"}
    assert {lock.stem for lock in (root / "requirements").glob("*.lock")} == extras
    for file, named in (
        ("Makefile", r"for each in ([a-z ]+); do .*pip compile"),
        ("Dockerfile", r"besides, of ([a-z, ]+):"),
        ("helm/README.md", r'EXTRAS="([a-z ]+)"'),
    ):
        found = re.search(named, (root / file).read_text())
        assert found, file
        assert set(re.findall(r"[a-z]+", found[1])) - {"and"} == extras, file


def test_images_of_others_are_pinned_by_digest(root: Path) -> None:
    pinned = re.compile(r"^[a-z/]+:[\w.-]+@sha256:[0-9a-f]{64}$")
    images = re.findall(r"^ARG BASE=(\S+)", (root / "Dockerfile").read_text(), re.MULTILINE)
    images += re.findall(r"^ +image: (\S+)", (root / "docker-compose.yml").read_text(), re.MULTILINE)
    ours = [image for image in images if image.startswith("streamflow:")]
    assert len(ours) == 1
    assert len(images) == 5
    assert [image for image in images if not pinned.match(image)] == ours
