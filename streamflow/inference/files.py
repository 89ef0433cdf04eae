"""Model files in a folder, by the SHA-256 digest of their content: `<folder>/<digest>`.

A file is written under another name and renamed, so that what has its name is whole. Workers may share a folder.
"""

import hashlib
import os
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

from streamflow.errors import ModelError
from streamflow.inference.card import ModelCard


class Files(Protocol):
    """Where models are loaded from."""

    def read(self, card: ModelCard) -> bytes:
        """A card's file. Raises ModelError when it is not there, or not what the card says."""


class KeptFiles(Files, Protocol):
    """Where they are kept, too."""

    def add(self, data: bytes) -> str:
        """Keep a file; its digest."""

    def place(self, digest: str) -> str:
        """Where a file is, for people."""


def digest_of(data: bytes) -> str:
    """What a file is called by."""
    return hashlib.sha256(data).hexdigest()


def files_of(folder: Path, url: str, folder_max_bytes: int) -> KeptFiles:
    """The files of a folder, or of an object store with the folder as its cache. Raises SettingsError."""
    if not url:
        return ModelFiles(folder)
    from streamflow.inference.object_files import ObjectFiles

    return ObjectFiles(folder, url, folder_max_bytes)


class ModelFiles:
    """The files of one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def add(self, data: bytes) -> str:
        """Keep a file; its digest."""
        digest = digest_of(data)
        path = self._folder / digest
        if not path.exists():
            self._folder.mkdir(parents=True, exist_ok=True)
            beside = path.with_name(f".{digest}.{os.getpid()}")
            beside.write_bytes(data)
            beside.replace(path)
        return digest

    def place(self, digest: str) -> str:
        """Path of a file."""
        return str(self._folder / digest)

    def read(self, card: ModelCard) -> bytes:
        """A card's file, from this folder or else from its URI. Raises ModelError when it is not what the card says."""
        for path in (self._folder / card.digest, _place(card.uri)):
            if path is not None and path.is_file():
                data = path.read_bytes()
                if digest_of(data) == card.digest:
                    return data
                raise ModelError(f"{path} is not the file of model {card.id}: its digest differs; put the file back")
        where = f"{self._folder} (STREAMFLOW_MODELS_DIR)"
        raise ModelError(f"the file of model {card.id} is not in {where}: copy it there as {card.digest}")


def _place(uri: str) -> Path | None:
    """A file URI's path; other schemes are for people."""
    parts = urlsplit(uri)
    return Path(unquote(parts.path)) if parts.scheme == "file" and not parts.netloc else None
