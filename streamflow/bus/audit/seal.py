"""A seal: a signed statement of which records a stretch of one partition holds, and of the chain over them.

Seals are a function of the log alone, so two sealers at once do no harm: their stretches overlap and agree.
"""

import base64
from collections.abc import Mapping, Sequence
from typing import Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from streamflow.bus.audit.digest import START, LogRecord, digest_of, extend
from streamflow.bus.audit.keys import Signer, Verifier
from streamflow.errors import EventError

_DIGEST_BYTES = 32


class Seal(BaseModel):
    """Over the committed records with first <= offset < next. Digests, chain and signature are base64."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    topic: str
    partition: int
    first: int = Field(ge=0)
    next: int
    before: str = Field(description="chain before `first`")
    after: str = Field(description="chain before `next`")
    offsets: list[int]
    digests: str = Field(description="32 bytes per offset, one after another")
    sealed_at_ms: int
    key_id: str
    signature: str = ""

    @property
    def entries(self) -> list[tuple[int, bytes]]:
        """(offset, digest) of every record."""
        raw = base64.b64decode(self.digests)
        return [(offset, raw[at * _DIGEST_BYTES : (at + 1) * _DIGEST_BYTES]) for at, offset in enumerate(self.offsets)]

    @property
    def chain_before(self) -> bytes:
        """32 bytes."""
        return base64.b64decode(self.before)

    @property
    def chain_after(self) -> bytes:
        """32 bytes."""
        return base64.b64decode(self.after)

    def signed_bytes(self) -> bytes:
        """What the signature is over."""
        return orjson.dumps(self.model_dump(exclude={"signature"}), option=orjson.OPT_SORT_KEYS)

    def is_signed_by(self, keys: Mapping[str, Verifier]) -> bool:
        """Whether one of the keys signed it, and it says what its own entries give."""
        key = keys.get(self.key_id)
        if key is None or not key.verifies(base64.b64decode(self.signature), self.signed_bytes()):
            return False
        return extend(self.chain_before, self.entries) == self.chain_after

    def encode(self) -> bytes:
        """JSON."""
        return orjson.dumps(self.model_dump())

    @classmethod
    def decode(cls, value: bytes | str) -> "Seal":
        """Reverse of `encode`. Raises EventError."""
        try:
            return cls.model_validate_json(value)
        except ValidationError as error:
            raise EventError("decode", f"it is no seal: {error}") from error


def make_seal(
    topic: str,
    records: Sequence[LogRecord],
    previous: Seal | None,
    end: int,
    now_ms: int,
    signer: Signer,
) -> Seal:
    """The seal over records of one partition, the first ones after `previous`; `end`: position behind the last."""
    before = START if previous is None else previous.chain_after
    digests = [digest_of(record) for record in records]
    after = extend(before, zip((record.offset for record in records), digests, strict=True))
    unsigned = Seal(
        topic=topic,
        partition=records[0].partition,
        first=0 if previous is None else previous.next,
        next=end,
        before=base64.b64encode(before).decode(),
        after=base64.b64encode(after).decode(),
        offsets=[record.offset for record in records],
        digests=base64.b64encode(b"".join(digests)).decode(),
        sealed_at_ms=now_ms,
        key_id=signer.key_id,
    )
    signature = base64.b64encode(signer.sign(unsigned.signed_bytes())).decode()
    return unsigned.model_copy(update={"signature": signature})
