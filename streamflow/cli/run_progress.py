"""A bar on the terminal while a bounded run works: offsets committed of those to read."""

import asyncio
import threading
from types import TracebackType

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from streamflow.cli.show import error_console
from streamflow.errors import StreamflowError
from streamflow.plan.plan import Plan
from streamflow.runtime.runs import RunRecord, offsets_read
from streamflow.settings.settings import Settings

_LOOK_S = 0.5


class RunProgress:
    """Looks from a thread of its own, because the supervisor has the main one. Shows nothing without a terminal."""

    def __init__(self, plan: Plan, settings: Settings, record: RunRecord) -> None:
        self._plan, self._settings, self._record = plan, settings, record
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, name="progress", daemon=True)

    def __enter__(self) -> None:
        if error_console.is_terminal:
            self._thread.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()

    def _look(self) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        total = sum(end - self._record.starts[place] for place, end in self._record.ends.items())
        with Progress(*columns, console=error_console, transient=True) as progress:
            bar = progress.add_task(self._plan.identity, total=total)
            while not self._over.wait(_LOOK_S):
                try:
                    read = asyncio.run(offsets_read(self._plan, self._settings, self._record))
                except StreamflowError:
                    continue  # only a look; the workers say what is wrong
                progress.update(bar, completed=read)
