"""streamflow schedule: bounded runs, one after the other, each from where the one before has ended."""

import asyncio
import signal
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streamflow.cli.run import supervisor_of
from streamflow.cli.runs import EXIT_DEAD_LETTERS, EXIT_UNFINISHED, report_run, round_of, watching
from streamflow.cli.show import error_console, moment, refusals
from streamflow.clock.schedule import Cron, Every, Schedule
from streamflow.errors import UserError
from streamflow.model.codec import time_ms
from streamflow.model.durations import parse_duration_ms
from streamflow.settings.settings import Settings, load_settings

if TYPE_CHECKING:
    from streamflow.runtime.rounds import PlanOf, Round

_EVERY_MIN_MS = 1_000
#: A record that waits is written anew after so long.
_KEEP_S = 24 * 3_600.0


def schedule(
    topology: Annotated[Path, typer.Argument(help="folder or file of the topology")],
    name: Annotated[str, typer.Argument(help="name behind those of its outputs, such as nightly")],
    every: Annotated[str | None, typer.Option(help="how often, such as 15m: at multiples of it, UTC")] = None,
    cron: Annotated[str | None, typer.Option(help="when, as five fields of cron, such as '0 2 * * *'")] = None,
    zone: Annotated[str, typer.Option(help="time zone of --cron, such as Europe/Berlin")] = "UTC",
    once: Annotated[bool, typer.Option("--once", help="the next round now, up to what is there, and end")] = False,
    start: Annotated[str | None, typer.Option("--from", help="where the first round begins, as of `run`")] = None,
    processes: Annotated[int, typer.Option(min=1, max=256, help="workers to run")] = 1,
    brokers: Annotated[str | None, typer.Option(help="Kafka bootstrap servers; STREAMFLOW_BROKERS")] = None,
    state_dir: Annotated[Path | None, typer.Option(help="folder for state; STREAMFLOW_STATE_DIR")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="end with 3 after a round with dead letters")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="reports as JSON")] = False,
) -> None:
    """Run a topology in rounds: each reads what came since the one before, closes all windows and reports.

    A round ends at the records of its moment. Rounds that were missed are made up for by one.
    """
    from streamflow.topology.load import load_topology

    with refusals():
        when = _when(every, cron, zone, once)
        settings, spec = load_settings(brokers=brokers, http_port=0, state_dir=state_dir), load_topology(topology)
        rounds = Rounds(settings, lambda number: round_of(name, number).plan(spec))
        while True:
            found = rounds.next(when, start)
            if found is None:
                raise typer.Exit(EXIT_UNFINISHED if once else 0)
            which, start, began = round_of(name, found.number), None, time.monotonic()
            supervisor = supervisor_of(topology, settings, processes, which)
            with watching(found.plan, settings, found.record):
                code = supervisor.run()
            rounds.hear_signals(asked=supervisor.is_stopping)
            took_s = time.monotonic() - began
            if code == 0:
                code = report_run(found.plan, settings, found.record, took_s, strict=strict, as_json=as_json)
            if code in (0, EXIT_DEAD_LETTERS):
                rounds.end(found)
            if code or when is None:
                raise typer.Exit(code)


def _when(every: str | None, cron: str | None, zone: str, once: bool) -> Schedule | None:
    if (every is not None) + (cron is not None) + once != 1:
        raise UserError("say when: one of --every, --cron and --once")
    if cron is not None:
        return Cron(cron, zone)
    if every is None:
        return None
    try:
        every_ms = parse_duration_ms(every)
    except ValueError as error:
        raise UserError(f"--every: {error}") from error
    if every_ms < _EVERY_MIN_MS:
        raise UserError("--every is at least 1s")
    return Every(every_ms)


class Rounds:
    """Rounds of one run, as this process begins and ends them."""

    def __init__(self, settings: Settings, plan_of: "PlanOf") -> None:
        self._settings, self._plan_of = settings, plan_of
        self._stop = threading.Event()
        self.hear_signals()

    def hear_signals(self, *, asked: bool = False) -> None:
        """Stop when asked to, between rounds; a supervisor hears signals itself while it runs. asked: it heard one."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._stop.set())
        if asked:
            self._stop.set()

    def next(self, when: Schedule | None, start: str | None) -> "Round | None":
        """The round to work on: one that is not over, or the next when it is due; None when asked to stop meanwhile."""
        found = self._next(when, start)
        return None if self._stop.is_set() else found

    def _next(self, when: Schedule | None, start: str | None) -> "Round | None":
        from streamflow.runtime.rounds import begin_round, end_round, forget_before, last_round

        last = asyncio.run(last_round(self._plan_of, self._settings))
        if last is not None:
            asyncio.run(forget_before(self._plan_of, self._settings, last.number))
            if not last.record.is_over:
                error_console.print(f"round {last.number} has begun {moment(last.record.begun_ms)} and goes on")
                return last
            last = asyncio.run(end_round(last, self._settings))
        end = None
        if when is not None:
            due_ms = self._due_ms(when, last)
            if not self._wait_until(due_ms, last):
                return None
            end = datetime.fromtimestamp(due_ms / 1_000, UTC).isoformat()
        return asyncio.run(begin_round(self._plan_of, self._settings, last, start, end))

    def end(self, done: "Round") -> None:
        """A round is at its end, and reported."""
        from streamflow.runtime.rounds import end_round

        asyncio.run(end_round(done, self._settings))

    @staticmethod
    def _due_ms(when: Schedule, last: "Round | None") -> int:
        now_ms = int(time.time() * 1_000)
        if last is None:
            return when.following(now_ms)
        before_ms = time_ms(last.record.end) if last.record.end else last.record.begun_ms
        return max(when.latest(now_ms), when.following(before_ms))

    def _wait_until(self, due_ms: int, last: "Round | None") -> bool:
        """Whether nobody asked to stop meanwhile."""
        from streamflow.runtime.rounds import keep

        error_console.print(f"the next round is due {moment(due_ms)}", highlight=False)
        while not self._stop.is_set() and (left_s := due_ms / 1_000 - time.time()) > 0:
            self._stop.wait(min(left_s, _KEEP_S))
            if left_s > _KEEP_S and last is not None:
                asyncio.run(keep(last, self._settings))
        return not self._stop.is_set()
