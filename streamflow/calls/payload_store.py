"""Where payloads lie beside Kafka: under the SHA-256 digest of their content, below one URL of the worker."""

import asyncio
from hashlib import sha256
from typing import TYPE_CHECKING, Protocol

from streamflow.errors import CallFailed, ErrorClass, ObjectsRefused, ObjectsUnreachable
from streamflow.objects.door import REMOTE, check_url, open_store, translated

if TYPE_CHECKING:
    from streamflow.objects.door import ObjectStore

_SETTING = "STREAMFLOW_PAYLOADS_URL"


class Payloads(Protocol):
    """A place of payloads, shared by the nodes of a worker. Its methods raise CallFailed."""

    @property
    def place(self) -> str:
        """URI of it."""

    def open(self) -> None:
        """Make a client, once. Raises SettingsError, ObjectsUnreachable."""

    async def put(self, data: bytes) -> str:
        """Keep a payload; its digest. One that is there already is written again, so that its age begins anew."""

    async def get(self, digest: str, size: int) -> bytes:
        """A payload of so many bytes. Permanent: it is not there, or is another; transient: nobody answers."""


class ObjectPayloads:
    """Payloads in an object store, or in a folder that workers share. See `Payloads`. Raises SettingsError."""

    def __init__(self, url: str) -> None:
        check_url(url, _SETTING, (*REMOTE, "file"))
        self.place = url.rstrip("/")
        self._opened: ObjectStore | None = None

    def open(self) -> None:
        """Make a client. Requests are repeated by the policy of their node, not by the client."""
        if self._opened is None:
            self._opened = open_store(self.place, _SETTING, repetitions=0)

    async def put(self, data: bytes) -> str:
        """Whole or not at all: one request, whatever the size."""
        assert self._opened is not None
        digest = await asyncio.to_thread(_digest, data)
        try:
            with translated(self.place, f"put {digest}"):
                await self._opened.put_async(digest, data, use_multipart=False)
        except FileNotFoundError as error:  # no bucket
            raise CallFailed("payload_store", f"{self.place} is not there", ErrorClass.TRANSIENT) from error
        except (ObjectsRefused, ObjectsUnreachable) as error:
            raise _failed(error) from error
        return digest

    async def get(self, digest: str, size: int) -> bytes:
        """The size is known before a byte of it is read."""
        assert self._opened is not None
        try:
            with translated(self.place, f"get {digest}"):
                found = await self._opened.get_async(digest)
                data = bytes(await found.bytes_async()) if found.meta["size"] == size else None
        except FileNotFoundError as error:
            raise missing(self.place, digest) from error
        except (ObjectsRefused, ObjectsUnreachable) as error:
            raise _failed(error) from error
        if data is None:
            raise _another(self.place, digest, f"has {found.meta['size']} bytes and not {size}")
        if await asyncio.to_thread(_digest, data) != digest:
            raise _another(self.place, digest, "is not what its name says: its digest differs")
        return data


def _digest(data: bytes) -> str:
    return sha256(data).hexdigest()


def missing(place: str, digest: str) -> CallFailed:
    """A payload that is not there, or no longer."""
    return CallFailed("payload_missing", f"{place}/{digest} is not there", ErrorClass.PERMANENT)


def _another(place: str, digest: str, said: str) -> CallFailed:
    return CallFailed("payload_differs", f"{place}/{digest} {said}", ErrorClass.PERMANENT)


def _failed(error: ObjectsRefused | ObjectsUnreachable) -> CallFailed:
    """Credentials are the worker's: they are mended, and rows cannot help it."""
    return CallFailed("payload_store", str(error), ErrorClass.TRANSIENT)
