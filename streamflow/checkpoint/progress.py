"""Progress of a task: the little that must survive besides tables and positions.

It travels as the metadata string of the committed offsets, so it is in the same transaction as the outputs, needs no
topic of its own and is there when the disk is lost. Kafka bounds it (`offset.metadata.max.bytes`, 4,096 by default);
watermarks are written in base 36 relative to the task's own, 8 characters each with the separator in the usual case, so
some 400 upstream producers fit; more are compressed.

    1;<watermark>;<entry>;<entry>…      entry of a source: high time, "-" when nothing was seen
                                        entry of a repartition topic: one mark per producer, "," between, "!" = idle
                                        "=" and how far its data came, once some of it has ended
                                        "^" and offsets that are done behind the position, if any
                                        of a level: a check of its name and "&" before it, as levels come and go
    …$<life>                            which life of the group this is: a reset begins another
    …@<node>=<version>,…                versions of models in use, of each node that asks for the latest; without
                                        names, as older releases wrote it: in the order of these nodes
    …#<count>,<count>…                  bounded runs only: what the report counts (engine/counters.py), "" is 0
    2;<watermark>;…~<closing>           while windows are being closed in slices (ClosingProgress)
    3;<watermark>;…                     where rows have overtaken others, both also being closed and not
    5;<watermark>;…                     where there are levels, any of these
    4;<zlib as base64>                  any of these, where it would be too long otherwise: marks are much alike
"""

import zlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass

from streamflow.errors import StateMismatch

#: "no watermark yet": below every event time that Kafka can carry.
NO_TIME = -(1 << 62)
#: "no more events": the watermark that closes everything, 9000-01-01. Calendars can still count there.
END_OF_TIME = 221_845_392_000_000
METADATA_MAX_BYTES = 4_096
#: Offsets from the first to the last that is done behind a position: 512 bytes as bits, 683 characters of metadata.
OVERTAKEN_SPAN = 4_096
#: In the place of a progress while a snapshot is restored: who finds it begins nothing.
RESTORING = "0;restoring"
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True, slots=True)
class ProducerMark:
    """Last watermark heard from one upstream producer (a task), in ms, and whether it called itself idle."""

    watermark_ms: int
    idle: bool = False


@dataclass(frozen=True, slots=True)
class EntryProgress:
    """One input of a task. Sources have `high_ms`, repartition topics `marks` in order of producer number.

    overtaken: offsets behind the position whose rows are done, within a span of OVERTAKEN_SPAN. data_ms: the greatest
    watermark before the end; NO_TIME before there is one. level: of a level the check of its name, 0 of others.
    """

    high_ms: int = NO_TIME
    marks: tuple[ProducerMark, ...] = ()
    overtaken: frozenset[int] = frozenset()
    data_ms: int = NO_TIME
    level: int = 0


@dataclass(frozen=True, slots=True)
class ClosingProgress:
    """Tables are being closed to `watermark_ms`: those before number `table` are, it is so to `reached_ms`.

    rows: of the next window of that table have left; less than 0: it tells early results (engine/early.py). The
    position of the input is that of the event that brought it.
    check: of the tables' names up to that one, as numbers change with the topology; 0 when not known.
    """

    watermark_ms: int
    table: int = 0
    reached_ms: int = NO_TIME
    rows: int = 0
    check: int = 0


@dataclass(frozen=True, slots=True)
class Progress:
    """Watermark of a task in ms, what each of its entries has seen, the counts of a bounded run (else none), and which
    versions of models are in use as (node, version), the node "" where an older release wrote it (else none).
    closing: what goes on between this watermark and the next one. life: made up at random with the first checkpoint, so
    that state from before a reset is known; "" where an older release wrote it.
    """

    watermark_ms: int = NO_TIME
    entries: tuple[EntryProgress, ...] = ()
    counts: tuple[int, ...] = ()
    versions: tuple[tuple[str, str], ...] = ()
    closing: ClosingProgress | None = None
    life: str = ""

    @property
    def has_ended(self) -> bool:
        """Whether the task has seen the end of all its inputs; only in bounded runs."""
        return self.watermark_ms >= END_OF_TIME

    def encode(self) -> str:
        """The metadata string. Raises StateMismatch beyond 4,096 bytes (too many upstream producers)."""
        version = "3" if any(entry.overtaken for entry in self.entries) else "1" if self.closing is None else "2"
        version = "5" if any(entry.level for entry in self.entries) else version
        parts = [version, _time(self.watermark_ms, 0)]
        base = self.watermark_ms if self.watermark_ms != NO_TIME else 0
        for entry in self.entries:
            if entry.marks:
                parts.append(",".join(_time(mark.watermark_ms, base) + "!" * mark.idle for mark in entry.marks) + ",")
            else:
                parts.append(_time(entry.high_ms, base))
            if entry.data_ms != NO_TIME:
                parts[-1] += f"={_time(entry.data_ms, 0)}"
            parts[-1] += _bits(entry.overtaken)
            if entry.level:
                parts[-1] = f"{_time(entry.level, 0)}&{parts[-1]}"
        text = ";".join(parts)
        if self.life:
            text += f"${self.life}"
        if self.versions:
            text += "@" + ",".join(f"{node}={version}" if node else version for node, version in self.versions)
        if self.counts:
            text += "#" + ",".join(_time(count, 0) if count else "" for count in self.counts)
        if self.closing is not None:
            closing = self.closing
            times = (_time(each, 0) for each in (closing.watermark_ms, closing.reached_ms))
            text += f"~{','.join(times)},{closing.table},{closing.rows},{closing.check}"
        if len(text) > METADATA_MAX_BYTES:
            text = f"4;{urlsafe_b64encode(zlib.compress(text.encode())).decode()}"
        if len(text) > METADATA_MAX_BYTES:
            raise StateMismatch(
                f"progress takes {len(text)} bytes of offset metadata, {METADATA_MAX_BYTES} are allowed"
            )
        return text

    @classmethod
    def decode(cls, text: str) -> "Progress":
        """Reverse of `encode`; an empty string is the start. Raises StateMismatch for another version."""
        if not text:
            return cls()
        if text.startswith("4;"):
            text = zlib.decompress(urlsafe_b64decode(text[2:])).decode()
        closing = ""
        if "~" in text:
            text, _, closing = text.rpartition("~")
        text, mark, counts = text.partition("#")
        text, _, versions = text.partition("@")
        text, _, life = text.partition("$")
        version, watermark, *entries = text.split(";")
        if text == RESTORING:
            raise StateMismatch(
                "a restore of a snapshot did not get to its end: `streamflow reset` this run, restore anew"
            )
        if version not in ("1", "2", "3", "5"):
            raise StateMismatch(f"offset metadata has version {version!r}, this release reads versions 1 to 5")
        watermark_ms = _parse(watermark, 0)
        base = watermark_ms if watermark_ms != NO_TIME else 0
        numbers = tuple(int(count or "0", 36) for count in counts.split(",")) if mark else ()
        return cls(
            watermark_ms,
            tuple(_entry(entry, base) for entry in entries),
            numbers,
            tuple(_version(each) for each in versions.split(",")) if versions else (),
            _closing(closing),
            life,
        )


def _version(text: str) -> tuple[str, str]:
    node, _, version = text.rpartition("=")
    return node, version


def _closing(text: str) -> ClosingProgress | None:
    if not text:
        return None
    watermark, reached, table, rows, *check = text.split(",")
    return ClosingProgress(_parse(watermark, 0), int(table), _parse(reached, 0), int(rows), *map(int, check))


def _entry(text: str, base: int) -> EntryProgress:
    level, _, text = text.rpartition("&")
    text, _, bits = text.partition("^")
    text, _, data = text.partition("=")
    data_ms, check = _parse(data or "_", 0), int(level or "0", 36)
    if not text.endswith(","):
        return EntryProgress(_parse(text, base), (), _offsets(bits), data_ms, check)
    marks = (ProducerMark(_parse(mark.rstrip("!"), base), mark.endswith("!")) for mark in text[:-1].split(","))
    return EntryProgress(NO_TIME, tuple(marks), _offsets(bits), data_ms, check)


def _bits(offsets: frozenset[int]) -> str:
    """`^<first offset>.<a bit for it and each one behind it, little-endian>`; nothing of no offsets."""
    if not offsets:
        return ""
    first = min(offsets)
    number = sum(1 << offset - first for offset in offsets)
    bits = number.to_bytes((number.bit_length() + 7) // 8, "little")
    return f"^{_time(first, 0)}.{urlsafe_b64encode(bits).decode().rstrip('=')}"


def _offsets(text: str) -> frozenset[int]:
    if not text:
        return frozenset()
    first, _, bits = text.partition(".")
    number = int.from_bytes(urlsafe_b64decode(bits + "=" * (-len(bits) % 4)), "little")
    return frozenset(_parse(first, 0) + place for place in range(number.bit_length()) if number >> place & 1)


def _time(value: int, base: int) -> str:
    if value == NO_TIME:
        return "_"
    number, digits = abs(value - base), ""
    while number:
        number, digit = divmod(number, 36)
        digits = _DIGITS[digit] + digits
    return ("-" if value < base else "") + (digits or "0")


def _parse(text: str, base: int) -> int:
    return NO_TIME if text == "_" else base + int(text, 36)
