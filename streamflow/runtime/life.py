"""How the last worker on a state folder ended, with which settings and topology: `life.json` beside the stores.

A worker that fails ends at once and can send nothing; what it writes here its successor says on the bus. A file that
says neither how its worker ended is that of one that was killed.
"""

import json
import logging
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from streamflow.bus.masking import masked
from streamflow.errors import StreamflowError
from streamflow.runtime.task_events import MESSAGE_MAX_CHARS
from streamflow.settings.settings import Settings

log = logging.getLogger(__name__)

_FILE = "life.json"


@dataclass(frozen=True, slots=True)
class Predecessor:
    """The worker before: how it ended (none, stopped, failed, killed), its error, settings that have changed since as
    (old, new), and the version and digest of its topology."""

    ended: str = "none"
    error: dict[str, str] = field(default_factory=dict)
    changes: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    version: int | None = None
    digest: str = ""


class Life:
    """Life of the worker that holds a state folder."""

    def __init__(self, folder: Path, settings: Settings, version: int, digest: str) -> None:
        self._path, self._is_begun = folder / _FILE, False
        self._topology = {"version": version, "digest": digest}
        self._settings = masked(settings.model_dump(mode="json"))

    def begin(self) -> Predecessor:
        """Find out about the predecessor, and note that a worker lives here now."""
        found, self._is_begun = self._read(), True
        self._write("", {})
        if not found:
            return Predecessor()
        old, new = found.get("settings", {}), self._settings
        changes = {name: (old.get(name), new.get(name)) for name in new if old.get(name) != new.get(name)}
        return Predecessor(
            found.get("ended") or "killed",
            found.get("error", {}),
            changes,
            found.get("version"),
            found.get("digest", ""),
        )

    def failed(self, error: BaseException) -> None:
        """Last words of a worker that ends at once."""
        blame = (
            {"blame": error.blame.value, "lasting": error.lasting.value} if isinstance(error, StreamflowError) else {}
        )
        self._write("failed", {"error": type(error).__name__, "message": str(error)[:MESSAGE_MAX_CHARS], **blame})

    def stopped(self) -> None:
        """The worker ends in order; one that never began leaves what the one before it wrote."""
        if self._is_begun:
            self._write("stopped", {})

    def _read(self) -> dict[str, Any]:
        try:
            found = json.loads(self._path.read_text())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            log.warning("%s cannot be read: %s", self._path, error)
            return {}
        return found if isinstance(found, dict) else {}

    def _write(self, ended: str, error: dict[str, str]) -> None:
        body = {"ended": ended, "error": error, "settings": self._settings, **self._topology}
        made = self._path.with_suffix(".new")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            made.write_text(json.dumps(body))
            os.replace(made, self._path)
        except OSError as failure:  # a full disk must not hide why a worker ends
            log.warning("%s cannot be written: %s", self._path, failure)
