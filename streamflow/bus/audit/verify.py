"""Finds what was changed in a log, or in a copy of it: records and seals of one partition, in the order they stand in.

Every finding names the offset. What cannot be found: a log cut off at its end together with its seals (keep the head
that `verify` prints elsewhere, and compare), and records that were changed before they were sealed.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from streamflow.bus.audit.digest import START, LogRecord, digest_of, extend
from streamflow.bus.audit.keys import Verifier
from streamflow.bus.audit.seal import Seal


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it was sealed.

    kind: changed, missing, reordered, inserted (a record that was never sealed), unsealed (a stretch whose seal is
    missing), bad_seal (nobody we know signed it), broken_chain (a seal does not follow the one before).
    """

    kind: str
    partition: int
    offset: int
    message: str

    def __str__(self) -> str:
        return f"partition {self.partition}, offset {self.offset}: {self.message}"


@dataclass(slots=True)
class PartitionCheck:
    """Checks one partition. `begin`: where the log or copy begins; earlier records are gone by retention.

    Records are kept until their seal comes: those of one seal, or all where nothing is sealed.
    """

    partition: int
    keys: Mapping[str, Verifier]
    begin: int = 0
    sealed_count: int = 0
    next: int | None = None
    chain: bytes = START
    _last: int = -1
    _waiting: list[LogRecord] = field(default_factory=list)
    _missed: dict[bytes, int] = field(default_factory=dict)

    @property
    def unsealed_count(self) -> int:
        """Records that no seal has come for yet."""
        return len(self._waiting)

    @property
    def head(self) -> dict[str, str | int]:
        """Position and chain up to which everything is proved, to be kept elsewhere."""
        return {"partition": self.partition, "next": self.next or 0, "chain": self.chain.hex()}

    def record(self, record: LogRecord) -> Iterator[Finding]:
        """The next record; whether it stands where it should."""
        if record.offset < self._last:
            yield self._moved(record.offset, f"it stands behind offset {self._last}")
        self._last = record.offset
        self._waiting.append(record)

    def seal(self, seal: Seal) -> Iterator[Finding]:
        """The next seal; what is wrong with it, or with the records it is about."""
        if not seal.is_signed_by(self.keys):
            message = f"the seal over {seal.first} to {seal.next - 1} is not signed by a known key ({seal.key_id})"
            yield Finding("bad_seal", self.partition, seal.first, message)
            return
        known = self.next
        if known is not None and seal.next <= known:
            return  # two sealers at once
        entries = seal.entries
        if known is None and seal.first > self.begin:
            yield from self._gap(self.begin, seal.first)
        elif known is not None and seal.first > known:
            yield from self._gap(known, seal.first)
        elif known is not None:
            entries = [each for each in entries if each[0] >= known]
            if extend(self.chain, entries) != seal.chain_after:
                message = f"the seal over {seal.first} to {seal.next - 1} does not follow the one before"
                yield Finding("broken_chain", self.partition, seal.first, message)
        elif seal.first == 0 and seal.chain_before != START:
            yield Finding("broken_chain", self.partition, 0, "the first seal does not begin the chain")
        yield from self._compare({offset: digest for offset, digest in entries if offset >= self.begin}, seal.next)
        self.next, self.chain = seal.next, seal.chain_after

    def end(self) -> Iterator[Finding]:
        """After the last record and seal. Records behind the last seal are not sealed yet, which is no finding."""
        if self.next is None and self._waiting:
            first = self._waiting[0].offset
            why = f"none of its {len(self._waiting)} records is sealed; workers with STREAMFLOW_AUDIT_KEY seal them"
            yield Finding("unsealed", self.partition, first, why)

    def _gap(self, first: int, behind: int) -> Iterator[Finding]:
        skipped = [record for record in self._waiting if record.offset < behind]
        self._waiting = [record for record in self._waiting if record.offset >= behind]
        message = f"the seal over {first} to {behind - 1} is missing; its {len(skipped)} records are not proved"
        yield Finding("unsealed", self.partition, first, message)

    def _compare(self, sealed: dict[int, bytes], behind: int) -> Iterator[Finding]:
        """Records that wait against what was sealed."""
        here = [record for record in self._waiting if record.offset < behind]
        self._waiting = [record for record in self._waiting if record.offset >= behind]
        places = {digest: offset for offset, digest in sealed.items()}
        found: set[int] = set()
        moved: set[int] = set()
        for record in here:
            offset, digest = record.offset, digest_of(record)
            if offset in found:
                yield Finding("inserted", self.partition, offset, "it is there twice")
                continue
            found.add(offset)
            if sealed.get(offset) == digest:
                self.sealed_count += 1
            elif digest in places:
                moved.add(places[digest])
                yield self._moved(offset, f"what stands here was written at offset {places[digest]}")
            elif digest in self._missed:
                yield self._moved(offset, f"what was written at offset {self._missed[digest]} stands behind its seal")
            elif offset in sealed:
                yield Finding("changed", self.partition, offset, "it is not what was written")
            else:
                yield Finding("inserted", self.partition, offset, "nothing was written here")
        for offset in sorted(sealed.keys() - found - moved):
            self._missed[sealed[offset]] = offset
            yield Finding("missing", self.partition, offset, "what was written here is not there")

    def _moved(self, offset: int, message: str) -> Finding:
        return Finding("reordered", self.partition, offset, message)
