"""Model files in an object store (S3, Google Cloud, Azure), by digest, with a bounded folder as cache before it.

    read    folder/<digest> ─ not there ─► store/<digest> ─ digest is right ─► folder, whose least used files leave

Where the store is, and its credentials: `objects/door.py`.
"""

import logging
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from streamflow.errors import ModelError, ModelsUnreachable, ObjectsRefused, ObjectsUnreachable
from streamflow.inference.card import ModelCard
from streamflow.inference.files import ModelFiles, digest_of
from streamflow.objects.door import check_url, open_store, translated

log = logging.getLogger(__name__)

_SETTING = "STREAMFLOW_MODELS_URL"
_REPETITIONS = 3
_DIGEST_CHARS = 64


class ObjectFiles:
    """The files below a URL such as `s3://bucket/models`. max_bytes: of the folder, the file in use left out."""

    def __init__(self, folder: Path, url: str, max_bytes: int) -> None:
        self._cache, self._folder, self._url, self._max_bytes = ModelFiles(folder), folder, url.rstrip("/"), max_bytes
        check_url(url, _SETTING)
        self._store = open_store(self._url, _SETTING, _REPETITIONS)

    def place(self, digest: str) -> str:
        """URI of a file."""
        return f"{self._url}/{digest}"

    def add(self, data: bytes) -> str:
        """Put a file; its digest. Raises ModelsUnreachable."""
        digest = digest_of(data)
        self._asked(lambda: self._store.put(digest, data), f"put {digest}")
        self._keep(data)
        return digest

    def read(self, card: ModelCard) -> bytes:
        """A card's file. Raises ModelError when it is not there, or not what the card says, ModelsUnreachable."""
        path = self._folder / card.digest
        with suppress(OSError):  # not there, just let go by another worker, or the disk's fault: the store has it
            data = path.read_bytes()
            if digest_of(data) == card.digest:
                with suppress(OSError):
                    os.utime(path)
                return data
            path.unlink(missing_ok=True)
        where = f"the file of model {card.id}, {self.place(card.digest)}"
        found = self._asked(lambda: self._store.get(card.digest), f"get {card.digest}")
        if found is None:
            raise ModelError(f"{where}, is not there: add the model again, with the same STREAMFLOW_MODELS_URL")
        size = found.meta["size"]
        if size != card.size_bytes:
            raise ModelError(f"{where}, has {size} bytes and not {card.size_bytes}: put the file back")
        data = bytes(self._asked(found.bytes, f"get {card.digest}") or b"")
        if digest_of(data) != card.digest:
            raise ModelError(f"{where}, is not what its name says: its digest differs; put the file back")
        try:
            self._keep(data)
        except OSError as error:
            log.warning("%s is used, but not kept in %s: %s", where, self._folder, error)
        return data

    def _keep(self, data: bytes) -> None:
        """Put a file into the folder, and let the least recently used ones go that are beyond its bound."""
        kept = self._folder / self._cache.add(data)
        files = [each for each in self._folder.iterdir() if len(each.name) == _DIGEST_CHARS and each != kept]
        sizes = []
        for each in files:
            try:
                stat = each.stat()
            except FileNotFoundError:  # another worker was first
                continue
            sizes.append((stat.st_mtime_ns, stat.st_size, each))
        size = sum(each[1] for each in sizes)
        for _, of_file, path in sorted(sizes):
            if size <= self._max_bytes:
                break
            path.unlink(missing_ok=True)
            size -= of_file

    def _asked(self, ask: Any, what: str) -> Any:
        """What the store answers, None when there is no such object."""
        try:
            with translated(self._url, what):
                return ask()
        except FileNotFoundError:
            return None
        except ObjectsRefused as error:
            raise ModelError(str(error)) from error
        except ObjectsUnreachable as error:
            raise ModelsUnreachable(str(error)) from error
