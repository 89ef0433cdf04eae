"""Async functions for topologies of tests."""

import asyncio
import os
import time

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


class Numbered(Row):
    number: int


async def dawdling(row: Numbered) -> Numbered:
    """Takes its time for every tenth."""
    await asyncio.sleep(0.3 if row.number % 10 == 0 else 0)
    return Numbered(row.number)


class Shop(Row):
    shop: str


class Rated(Row):
    shop: str
    process: int
    kept: bool = False


async def rated(row: Shop) -> Rated:
    """Tells who was asked."""
    return Rated(row.shop, os.getpid())


class Counted(Row):
    number: int
    process: int


def counted(row: Asked, worst: int = 10**9) -> Counted:
    """Loops, dies, hangs or raises, as the shop of the row says; tells its process."""
    print("printing does not disturb the answers")
    match row.shop:
        case "dies":
            os._exit(3)
        case "hangs":
            time.sleep(3_600)
        case "raises":
            raise ValueError("bad row")
        case "hoards":
            return Counted(len(bytearray(1 << 30)), os.getpid())
        case "is cut off":
            raise ConnectionError("cut")
    return Counted(sum(1 for _ in range(row.number)) % worst, os.getpid())


class Placed(Row):
    city: str
    number: int


async def placed(row: Placed, wait_ms: int = 0) -> Placed:
    """The same, a turn of the loop later, or so long."""
    await asyncio.sleep(wait_ms / 1_000)
    return Placed(row.city, row.number)
