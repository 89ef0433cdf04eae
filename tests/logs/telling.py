"""Nodes that write log lines, from wherever a person's code runs."""

import logging

from streamflow.kit import Process, Row, Time, Timer

log = logging.getLogger(__name__)


class Told(Row):
    t: Time
    k: str
    n: int


def looked_at(row: Told) -> Told:
    log.info("a function saw %s", row.n)
    return Told(row.t, row.k, row.n)


async def asked(row: Told) -> Told:
    log.info("a coroutine saw %s", row.n)
    return Told(row.t, row.k, row.n)


class Waiting(Process):
    def process(self, row: Told) -> Told:
        log.info("a process saw %s", row.n)
        self.timers.set(row.t + 10, "later")
        return Told(row.t, row.k, row.n)

    def on_timer(self, timer: Timer) -> None:
        try:
            raise ValueError("as told")
        except ValueError:
            log.exception("a timer")
