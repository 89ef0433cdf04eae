"""Global tables of the test driver: brought up to their topics before each pass over the tasks."""

from streamflow.engine.global_table import GlobalTable
from streamflow.plan.plan import Plan
from streamflow.testing.log import MemoryLog


class DriverTables:
    """The tables of one worker that runs every task, caught up from the start. `tables` by name."""

    def __init__(self, plan: Plan, log: MemoryLog) -> None:
        self._plan, self._log = plan, log
        self.read_again()

    def read_again(self) -> None:
        """The worker died: a new one reads everything before it works."""
        self.tables = {plan.name: GlobalTable(plan) for plan in self._plan.global_tables}
        self._positions: dict[tuple[str, int], int] = {}
        self.catch_up()

    def catch_up(self) -> None:
        """Apply what came since. Raises TableTooLarge."""
        for table in self.tables.values():
            for partition in range(self._log.partition_counts[table.plan.topic]):
                place = (table.plan.topic, partition)
                start, log = self._positions.get(place, 0), self._log.partitions[place]
                table.apply([(each.key, each.value) for each in log.records if each.offset >= start])
                self._positions[place] = log.next_offset
