"""Payloads in memory, for topologies that run in one process."""

from hashlib import sha256

from streamflow.calls.payload_store import missing


class MemoryPayloads:
    """Payloads by their digest. See `payload_store.Payloads`."""

    place = "memory:"

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}

    def open(self) -> None:
        """It always is."""

    async def put(self, data: bytes) -> str:
        """Keep a payload; its digest."""
        digest = sha256(data).hexdigest()
        self.kept[digest] = data
        return digest

    async def get(self, digest: str, size: int) -> bytes:
        """A payload."""
        found = self.kept.get(digest)
        if found is None or len(found) != size:
            raise missing(self.place, digest)
        return found
