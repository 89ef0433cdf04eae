"""What a worker learns of the one before it on its state folder."""

import json
from pathlib import Path

import pytest

from streamflow.errors import StoreFailed
from streamflow.runtime.life import Life, Predecessor
from streamflow.settings.settings import load_settings


def _life(folder: Path, version: int = 1, **settings: object) -> Life:
    return Life(folder, load_settings(**settings), version, f"digest {version}")


def test_how_the_last_one_ended(tmp_path: Path) -> None:
    first = _life(tmp_path)
    assert first.begin() == Predecessor()
    second = _life(tmp_path, commit_interval_ms=7)
    assert second.begin() == Predecessor("killed", {}, {"commit_interval_ms": (100, 7)}, 1, "digest 1")
    second.failed(StoreFailed("the disk is full"))
    found = _life(tmp_path, 2, commit_interval_ms=7).begin()
    said = {"error": "StoreFailed", "message": "the disk is full", "blame": "external", "lasting": "permanent"}
    assert (found.ended, found.error, found.changes) == ("failed", said, {})
    third = _life(tmp_path, 2)
    third.begin()
    third.stopped()
    assert _life(tmp_path).begin() == Predecessor("stopped", {}, {}, 2, "digest 2")


def test_secrets_of_settings_are_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMFLOW_BROKERS", "kafka:1")
    _life(tmp_path).begin()
    settings = json.loads((tmp_path / "life.json").read_text())["settings"]
    assert settings["brokers"] == "kafka:1"
    secrets = {name: value for name, value in settings.items() if "password" in name or "secret" in name}
    assert set(secrets.values()) <= {"***"}


@pytest.mark.parametrize("junk", ["", "[]", "{", "7", '"x"'])
def test_junk_is_no_predecessor(tmp_path: Path, junk: str) -> None:
    (tmp_path / "life.json").write_text(junk)
    assert _life(tmp_path).begin() == Predecessor()


def test_a_disk_that_cannot_be_written_stops_nobody(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    life = _life(tmp_path / "file")
    assert life.begin() == Predecessor()
    life.failed(StoreFailed("x"))
