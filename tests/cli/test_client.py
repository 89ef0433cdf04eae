"""Publishing from the command line: requests that fit, and patience."""

from streamflow.cli.client import BATCH_BYTES, BATCH_EVENTS, batches


def test_lines_are_grouped_by_number_and_by_bytes_and_none_is_left_out() -> None:
    small = [b"%d" % number for number in range(2 * BATCH_EVENTS + 1)]
    assert [len(batch) for batch in batches(small)] == [BATCH_EVENTS, BATCH_EVENTS, 1]
    large = [b"x" * (BATCH_BYTES // 3)] * 5 + [b"y" * (2 * BATCH_BYTES)] + [b"z"]
    groups = list(batches(large))
    assert [line for group in groups for line in group] == large
    assert [len(group) for group in groups] == [2, 2, 1, 1, 1]
    assert list(batches([])) == []
