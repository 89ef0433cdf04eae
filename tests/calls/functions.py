"""Async functions for topologies of tests."""

import asyncio

from streamflow.kit import Row


class Asked(Row):
    number: int
    wait_ms: int
    shop: str


class Answered(Row):
    number: int
    shop: str
    half: int


async def halved(row: Asked, fail_at: int = 13) -> list[Answered]:
    """Rows of even halves once, of others twice, none for multiples of 11; waits as long as the row says."""
    await asyncio.sleep(row.wait_ms / 1_000)
    if row.number % fail_at == 0:
        raise ValueError("unlucky")
    if row.number % 11 == 0:
        return []
    half = row.number // 2
    return [Answered(row.number, row.shop, half)] * (1 + half % 2)


async def patient(row: Asked) -> Answered:
    """Waits for an hour."""
    await asyncio.sleep(3_600)
    return Answered(row.number, row.shop, 0)
