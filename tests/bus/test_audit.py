"""Whatever is done to a sealed log is found, by name and place; what is whole is never accused."""

import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamflow.bus.audit.copy import Begin, Part, Proof, check_copy, decode_part, encode_part
from streamflow.bus.audit.digest import LogRecord
from streamflow.bus.audit.keys import Signer, Verifier
from streamflow.bus.audit.seal import Seal, make_seal
from streamflow.errors import SettingsError, UserError

_SIGNER = Signer.new()
_KEYS = {_SIGNER.key_id: _SIGNER.public}


def _record(offset: int) -> LogRecord:
    return LogRecord(0, offset, 1_000 + offset, b"k", b"event %d" % offset, (("h", b"1"),))


def _log(offsets: Iterable[int], stretch: int, signer: Signer = _SIGNER) -> list[Part]:
    """Records at these offsets, sealed `stretch` at a time."""
    parts: list[Part] = [Begin("t.events", 0, 0)]
    waiting: list[LogRecord] = []
    last: Seal | None = None
    for offset in offsets:
        waiting.append(_record(offset))
        parts.append(waiting[-1])
        if len(waiting) == stretch:
            last = make_seal("t.events", waiting, last, offset + 1, 7, signer)
            parts.append(last)
            waiting = []
    return parts


def _check(parts: Iterable[Part], keys: dict[str, Verifier] = _KEYS) -> Proof:
    """Through a copy on disk and back, as a person would."""
    return check_copy([encode_part(part) + b"\n" for part in parts], keys)


def _found(parts: Iterable[Part]) -> list[tuple[str, int]]:
    return [(finding.kind, finding.offset) for finding in _check(parts).findings]


#: Offsets with the gaps that markers of transactions leave.
_OFFSETS = [0, 1, 3, 4, 5, 8, 9, 10, 11, 14, 15, 16]


@given(st.lists(st.integers(1, 3), min_size=1, max_size=30), st.integers(1, 7))
def test_a_whole_log_is_never_accused(steps: list[int], stretch: int) -> None:
    offsets = [sum(steps[:at]) for at in range(len(steps))]
    proof = _check(_log(offsets, stretch))
    if len(offsets) < stretch:
        assert [finding.kind for finding in proof.findings] == ["unsealed"], "nothing is sealed at all"
        return
    assert proof.findings == []
    check = proof.partitions[0]
    assert check.sealed_count == len(offsets) // stretch * stretch
    assert check.unsealed_count == len(offsets) % stretch


def _at(parts: list[Part], offset: int) -> int:
    return next(at for at, part in enumerate(parts) if isinstance(part, LogRecord) and part.offset == offset)


def _tampered(change: Callable[[list[Part]], None]) -> list[tuple[str, int]]:
    parts = _log(_OFFSETS, 4)
    change(parts)
    return _found(parts)


@pytest.mark.parametrize("offset", _OFFSETS)
@pytest.mark.parametrize("field", ["value", "key", "timestamp_ms", "headers"])
def test_every_change_of_a_record_is_found_at_its_offset(offset: int, field: str) -> None:
    others: dict[str, Any] = {"value": b"event!", "key": None, "timestamp_ms": 5, "headers": ()}

    def change(parts: list[Part]) -> None:
        record = parts[_at(parts, offset)]
        assert isinstance(record, LogRecord)
        parts[_at(parts, offset)] = replace(record, **{field: others[field]})

    assert _tampered(change) == [("changed", offset)]


@pytest.mark.parametrize("offset", _OFFSETS)
def test_every_record_that_is_missing_is_found(offset: int) -> None:
    def change(parts: list[Part]) -> None:
        del parts[_at(parts, offset)]

    assert _tampered(change) == [("missing", offset)]


@pytest.mark.parametrize("first", range(len(_OFFSETS) - 1))
def test_neighbours_that_changed_places_are_found(first: int) -> None:
    low, high = _OFFSETS[first], _OFFSETS[first + 1]

    def change(parts: list[Part]) -> None:
        a, b = _at(parts, low), _at(parts, high)
        parts[a], parts[b] = parts[b], parts[a]

    kinds = _tampered(change)
    assert "reordered" in {kind for kind, _ in kinds} <= {"reordered", "missing"}
    assert {offset for _, offset in kinds} <= {*_OFFSETS[first : first + 3]}


def test_contents_that_changed_places_under_their_offsets_are_found() -> None:
    def change(parts: list[Part]) -> None:
        a, b = _at(parts, 3), _at(parts, 4)
        one, two = parts[a], parts[b]
        assert isinstance(one, LogRecord)
        assert isinstance(two, LogRecord)
        parts[a], parts[b] = replace(two, offset=3), replace(one, offset=4)

    assert _tampered(change) == [("reordered", 3), ("reordered", 4)]


def test_a_record_moved_far_away_is_found() -> None:
    def change(parts: list[Part]) -> None:
        parts.insert(_at(parts, 1), parts.pop(_at(parts, 15)))

    assert _tampered(change) == [("reordered", 1)], "it stands behind 15"


@pytest.mark.parametrize("offset", [2, 12])
def test_a_record_that_was_put_in_is_found(offset: int) -> None:
    def change(parts: list[Part]) -> None:
        parts.insert(_at(parts, offset + 1 if offset == 2 else 14), _record(offset))

    assert _tampered(change) == [("inserted", offset)]


def test_a_record_that_is_there_twice_is_found() -> None:
    def change(parts: list[Part]) -> None:
        parts.insert(_at(parts, 5), parts[_at(parts, 4)])

    assert _tampered(change) == [("inserted", 4)]


def test_a_seal_that_is_gone_leaves_a_stretch_unproved() -> None:
    for number, (first, _) in enumerate(((0, 4), (5, 10))):
        parts = _log(_OFFSETS, 4)
        seals = [part for part in parts if isinstance(part, Seal)]
        parts.remove(seals[number])
        assert _found(parts) == [("unsealed", first)]


def test_a_record_and_a_seal_forged_together_are_found() -> None:
    parts = _log(_OFFSETS, 4)
    seals = [at for at, part in enumerate(parts) if isinstance(part, Seal)]
    middle = parts[seals[1]]
    forged = _log(_OFFSETS, 4, Signer.new())[seals[1]]
    assert isinstance(middle, Seal)
    assert isinstance(forged, Seal)
    for fake in (
        forged,
        forged.model_copy(update={"key_id": _SIGNER.key_id}),
        middle.model_copy(update={"next": 13}),
        middle.model_copy(update={"before": "A" * 43 + "="}),
    ):
        parts[seals[1]] = fake
        kinds = [finding.kind for finding in _check(parts).findings]
        assert kinds == ["bad_seal", "unsealed"], fake


def test_a_seal_of_another_log_by_the_same_key_breaks_the_chain() -> None:
    parts = _log(_OFFSETS, 4)
    at = [at for at, part in enumerate(parts) if isinstance(part, Seal)][1]
    records = [replace(_record(offset), value=b"other") for offset in _OFFSETS]
    first = make_seal("t.events", records[:4], None, 5, 7, _SIGNER)
    parts[at] = make_seal("t.events", records[4:8], first, 11, 7, _SIGNER)
    kinds = {finding.kind for finding in _check(parts).findings}
    assert "broken_chain" in kinds
    assert "changed" in kinds


def test_two_sealers_at_once_do_no_harm() -> None:
    records = [_record(offset) for offset in _OFFSETS]
    one = make_seal("t.events", records[:4], None, 5, 7, _SIGNER)
    two = make_seal("t.events", records[:6], None, 9, 8, _SIGNER)
    three = make_seal("t.events", records[4:8], one, 11, 9, _SIGNER)
    four = make_seal("t.events", records[6:], two, 17, 9, _SIGNER)
    parts: list[Part] = [Begin("t.events", 0, 0), *records, one, two, three, four]
    proof = _check(parts)
    assert proof.findings == []
    assert proof.partitions[0].sealed_count == len(records)
    assert proof.partitions[0].head == _check(_log(_OFFSETS, 4)).partitions[0].head


def test_records_gone_by_retention_are_no_finding() -> None:
    parts = [part for part in _log(_OFFSETS, 4) if not isinstance(part, LogRecord) or part.offset >= 8]
    parts[0] = Begin("t.events", 0, 8)
    proof = _check(parts)
    assert proof.findings == []
    assert proof.partitions[0].sealed_count == 7
    del parts[1]  # the seals of old go by retention too
    assert _check(parts).findings == []


def test_lines_carry_any_bytes() -> None:
    record = LogRecord(3, 1, 2, None, b"\xff\x00", (("a", b"\xfe"), ("a", b"b")))
    assert decode_part(encode_part(record)) == record
    for line in (b"", b"[]", b"{}", b'{"kind": "record"}', b'{"kind": "other"}', b'{"kind": "seal"}'):
        with pytest.raises(UserError, match="line 1"):
            check_copy([line], _KEYS)


def test_keys_are_named_by_reference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "key"
    path.write_bytes(_SIGNER.private_pem())
    monkeypatch.setenv("PUBLIC", _SIGNER.public.pem().decode())
    assert Signer.load(f"file:{path}").key_id == Verifier.load("env:PUBLIC").key_id == _SIGNER.key_id
    path.write_text("junk")
    for wrong in (f"file:{path}", "file:/nowhere/at/all", "env:NO_SUCH_VARIABLE", "junk", "env:PUBLIC"):
        with pytest.raises(SettingsError):
            Signer.load(wrong)


def test_a_seal_is_signed_over_everything_in_it() -> None:
    seal = next(part for part in _log(_OFFSETS, 4) if isinstance(part, Seal))
    assert seal.is_signed_by(_KEYS)
    body = json.loads(seal.encode())
    for name in body.keys() - {"signature", "format"}:
        other = {str: "x", int: 99, list: [99]}[type(body[name])]
        assert not seal.model_copy(update={name: other}).is_signed_by(_KEYS), name
