"""Model files in an object store (S3, Google Cloud, Azure), by digest, with a bounded folder as cache before it.

    read    folder/<digest> ─ not there ─► store/<digest> ─ digest is right ─► folder, whose least used files leave

Credentials come from the environment, as the store's own tools take them (AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL, a
role of the pod, …): a URL that has some is refused. The only module that imports obstore.
"""

import logging
import os
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from streamflow.errors import ModelError, ModelsUnreachable, SettingsError
from streamflow.inference.card import ModelCard
from streamflow.inference.files import ModelFiles, digest_of

if TYPE_CHECKING:
    from obstore.store import ObjectStore

log = logging.getLogger(__name__)

_SCHEMES = ("s3", "gs", "az", "abfs", "abfss")
#: A request, and a request with all of its repetitions.
_REQUEST_S, _ALL_S = 60, 90
_REPETITIONS = 3
_DIGEST_CHARS = 64


class ObjectFiles:
    """The files below a URL such as `s3://bucket/models`. max_bytes: of the folder, the file in use left out."""

    def __init__(self, folder: Path, url: str, max_bytes: int) -> None:
        self._cache, self._folder, self._url, self._max_bytes = ModelFiles(folder), folder, url.rstrip("/"), max_bytes
        self._store = _store(self._url)

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
        from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError

        try:
            return ask()
        except FileNotFoundError:
            return None
        except (PermissionDeniedError, UnauthenticatedError) as error:
            raise ModelError(
                f"{self._url} refuses to {what}: {_line(error)}; mind the credentials in the environment"
            ) from error
        except (BaseError, OSError) as error:
            raise ModelsUnreachable(f"{self._url} does not {what}: {_line(error)}") from error


def _line(error: Exception) -> str:
    """Behind its first line an error has the client's whole structure."""
    return str(error).partition("\n")[0]


def _store(url: str) -> "ObjectStore":
    parts = urlsplit(url)
    if parts.scheme not in _SCHEMES or not parts.netloc:
        known = ", ".join(f"{each}://" for each in _SCHEMES)
        raise SettingsError(f"STREAMFLOW_MODELS_URL {url!r} is no place of an object store: begin it with {known}")
    if parts.username or parts.password or parts.query:
        raise SettingsError("STREAMFLOW_MODELS_URL has credentials in it: put them into the store's own variables")
    try:
        from obstore.store import from_url
    except ImportError as error:
        message = "obstore is not installed, which reads object stores: pip install 'streamflow[objects]'"
        raise SettingsError(message) from error
    return from_url(
        url,
        client_options={
            "timeout": timedelta(seconds=_REQUEST_S),
            "allow_http": os.environ.get("AWS_ALLOW_HTTP", "").lower() == "true",  # else these options hide it
        },
        retry_config={"max_retries": _REPETITIONS, "retry_timeout": timedelta(seconds=_ALL_S)},
    )
