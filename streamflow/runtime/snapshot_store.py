"""Where snapshots lie: an object store, or a folder that workers share."""

import asyncio
import logging
import re
from typing import TYPE_CHECKING

from streamflow.checkpoint.snapshot import Kept, Manifest, Part, decode_part, encode_part
from streamflow.errors import ObjectsUnreachable, StateMismatch, UserError
from streamflow.objects.door import REMOTE, check_url, open_store, translated

if TYPE_CHECKING:
    from streamflow.objects.door import ObjectStore

log = logging.getLogger(__name__)

_SETTING = "STREAMFLOW_SNAPSHOTS_URL"
_REPETITIONS = 5
_MANIFEST = "manifest.json"
_ID = re.compile(r"\d{8}T\d{9}Z")


class SnapshotStore:
    """Snapshots of one topology. Its methods raise ObjectsRefused, ObjectsUnreachable.

    Raises UserError without a place, SettingsError for one that cannot be opened.
    """

    def __init__(self, url: str, topology: str) -> None:
        if not url:
            raise UserError(f"there is no place for snapshots: set {_SETTING}")
        check_url(url, _SETTING, (*REMOTE, "file"))
        self._url, self._topology = url.rstrip("/"), topology
        self._objects: ObjectStore = open_store(self._url, _SETTING, _REPETITIONS)

    async def all(self) -> list[Manifest]:
        """Snapshots that are whole and can be read by this release, the oldest first."""
        with translated(self._url, f"list {self._topology}"):
            found = await self._objects.list_with_delimiter_async(f"{self._topology}/")
        names = sorted(prefix.rstrip("/").rpartition("/")[2] for prefix in found["common_prefixes"])
        manifests = await asyncio.gather(*(self._readable(name) for name in names))
        return [each for each in manifests if each is not None]

    async def manifest(self, snapshot: str) -> Manifest:
        """Raises UserError when there is no such snapshot, StateMismatch when it is of another release."""
        found = await self._manifest(snapshot) if _ID.fullmatch(snapshot) else None
        if found is None:
            raise UserError(f"there is no snapshot {snapshot} of {self._topology} in {self._url}")
        return found

    async def _readable(self, snapshot: str) -> Manifest | None:
        try:
            return await self._manifest(snapshot)
        except StateMismatch as error:
            log.warning("snapshot %s of %s is left out: %s", snapshot, self._topology, error)
            return None

    async def _manifest(self, snapshot: str) -> Manifest | None:
        try:
            return Manifest.decode(await self._get(f"{self._topology}/{snapshot}/{_MANIFEST}"))
        except FileNotFoundError:
            return None

    async def put_part(self, snapshot: str, number: int, records: list[Kept]) -> Part:
        """Keep records."""
        part, body = await asyncio.to_thread(encode_part, f"{number:06}", records)
        await self._put(f"{self._topology}/{snapshot}/{part.name}", body)
        return part

    async def put_manifest(self, manifest: Manifest) -> None:
        """From now on it is a snapshot."""
        await self._put(f"{self._topology}/{manifest.id}/{_MANIFEST}", manifest.encode())

    async def part(self, snapshot: str, part: Part) -> list[Kept]:
        """Records of a part. Raises StateMismatch when they are not what was written."""
        try:
            body = await self._get(f"{self._topology}/{snapshot}/{part.name}")
        except FileNotFoundError as error:
            raise ObjectsUnreachable(f"part {part.name} of snapshot {snapshot} is not there") from error
        return await asyncio.to_thread(decode_part, part, body)

    async def _put(self, name: str, body: bytes) -> None:
        with translated(self._url, f"put {name}"):
            await self._objects.put_async(name, body, use_multipart=False)

    async def _get(self, name: str) -> bytes:
        with translated(self._url, f"get {name}"):
            found = await self._objects.get_async(name)
            return bytes(await found.bytes_async())
