"""Binds the nodes of a stage to state, outputs and clocks of one task: what the names in the fused code stand for."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from streamflow.calls.rows import guarded_rows
from streamflow.engine.answers import Answers
from streamflow.engine.approval_table import ApprovalTable
from streamflow.engine.asked_table import AskedTable
from streamflow.engine.elements import elements_of
from streamflow.engine.fold_table import Fire, FoldTable
from streamflow.engine.global_table import GlobalTable
from streamflow.engine.held_back import HeldBack, behind, hooks_behind, reading
from streamflow.engine.join_binding import bind_join, bind_settle, bind_subscribe, bind_table
from streamflow.engine.key_endings import EndingVersions, KeyEndings
from streamflow.engine.keyed_fold import KeyedFold
from streamflow.engine.keyed_table import KeyedTable
from streamflow.engine.outputs import Outputs, RouteTo
from streamflow.engine.pane_table import PaneTable
from streamflow.engine.parking_table import ParkingTable, parking_table
from streamflow.engine.ports import port_watermark
from streamflow.engine.process_table import ProcessTable
from streamflow.engine.program import Program
from streamflow.engine.scorer import Scorer, Scorers, as_list
from streamflow.engine.session_table import SessionTable
from streamflow.engine.stamp import Stamp
from streamflow.engine.tables import make_table
from streamflow.engine.task_hooks import TaskHooks
from streamflow.engine.versioned_table import VersionedTable
from streamflow.engine.watermarks import EntryClock
from streamflow.kit.run import applied
from streamflow.logs.place import PLACE
from streamflow.nodes.foreign_operators import Settle, Subscribe
from streamflow.nodes.join_operators import Apart, Upsert
from streamflow.nodes.operators import (
    Apply,
    Await,
    Count,
    Distinct,
    Emit,
    Fold,
    Limit,
    Lookup,
    Park,
    Process,
    Score,
    Unfold,
)
from streamflow.nodes.versioned_writes import VersionedWrites
from streamflow.nodes.watching import Watch
from streamflow.plan.held_back import behind_ms, held_back_ms
from streamflow.plan.plan import PlannedNode
from streamflow.state.store import Store


@dataclass
class Binding:
    """State of the nodes of one task, in the order of the stage; `names` is filled by `bind`.

    answers: what the calls of each async node gave. clocked: what the wall clock matters to.
    late: per node number its name, its table and the route to its late topic.
    """

    program: Program
    hooks: TaskHooks
    outputs: Outputs
    clocks: Sequence[EntryClock]
    store: Store
    global_tables: Mapping[str, GlobalTable]
    names: dict[str, Any]
    folds: list[tuple[int, FoldTable, Fire]] = field(default_factory=list)
    keyed: list[KeyedTable | VersionedTable | AskedTable | ParkingTable] = field(default_factory=list)
    processes: list[ProcessTable] = field(default_factory=list)
    clocked: list[ProcessTable | ApprovalTable] = field(default_factory=list)
    answers: dict[str, Answers] = field(default_factory=dict)
    scorers: Scorers = field(default_factory=Scorers)
    late: dict[int, tuple[str, FoldTable, Callable[[Any], RouteTo]]] = field(default_factory=dict)
    #: Of each window that tells at checkpoints, how many results it has for the next one.
    untold: list[Callable[[], int]] = field(default_factory=list)
    #: Of entries that park, by number.
    parking: dict[int, ParkingTable] = field(default_factory=dict)
    _held_ms: dict[str, int] = field(init=False)

    def __post_init__(self) -> None:
        self._held_ms = held_back_ms(self.program.stage.nodes)

    def bind(self) -> dict[str, Any]:
        """Open every table and give the functions of the fused code."""
        for number, clock in enumerate(self.clocks):
            self.names[f"clock_{number}"] = clock
            if clock.entry.parks is not None:
                self.parking[number] = table = parking_table(clock.entry, self.store)
                self.names[f"parked_{number}"] = table.held
                self.keyed.append(table)
        for node in self.program.stage.nodes:
            number = self.program.numbers[node.name]
            self._bind_node(number, node)
            topic = node.repartition_topic or getattr(node.operator, "topic", None)
            if topic is not None:
                self.names[f"routes_{number}"], self.names[f"route_{number}"] = self.outputs.router(topic)
                self.names[f"texts_{number}"], self.names[f"text_{number}"] = self.outputs.texts(topic)
            if node.level_topics:
                # Rows that have passed a node that keeps something may have come with a level that is none here.
                levels = {"", *(entry.level for entry in self.program.stage.entries)}
                ordinary = dict.fromkeys(levels, self._ways_out(topic or ""))
                leveled = {level: self._ways_out(each) for level, each in node.level_topics}
                self.names[f"leveled_{number}"] = ordinary | leveled
        self.names[PLACE] = partial(self.program.place, self.names["task"].partition)
        return self.program.bind(self.names)

    def _ways_out(self, topic: str) -> tuple[Any, ...]:
        (routes, route), (texts, text) = self.outputs.router(topic), self.outputs.texts(topic)
        return routes.get, route, texts.get, text

    def _bind_node(self, number: int, node: PlannedNode) -> None:
        names, operator = self.names, node.operator
        match operator:
            case Fold() | Process() | Distinct() | Limit():
                names[f"w_{number}"] = self._table(number, node)
                names[f"fire_{number}"] = partial(self.hooks.emit, number, node.name)
            case Park():
                names[f"w_{number}"] = made = self._approvals(number, node, operator)
                self.clocked.append(made)
                self._add(number, node, made, None)
            case Apply():
                declared, arguments, policy = operator.declared, operator.arguments, operator.policy
                names[f"f_{number}"] = (
                    applied(declared, arguments) if policy is None else guarded_rows(declared, arguments, policy)
                )
            case Await():
                self.answers[node.name] = answers = Answers()
                names[f"f_{number}"] = answers.take
            case Unfold():
                names[f"f_{number}"] = elements_of(operator)
            case Emit(stamped=True):
                program = self.program
                names[f"stamp_{number}"] = Stamp(program.plan, program.stage, node, self.hooks.now)
            case Count():
                names[f"c_{number}"] = keyed = KeyedTable(operator.table, self.store)
                self.keyed.append(keyed)
            case Lookup():
                found = self.global_tables[operator.table]
                names[f"rows_{number}"], names[f"absent_{number}"] = found.rows, found.absent
            case Score():
                names["as_list"] = as_list
                names[f"m_{number}"] = self.scorers.add(Scorer(node.name, operator, self.global_tables))
            case Upsert() | Subscribe() | Settle():
                self._bind_kept(number, node, operator)
            case _ if isinstance(operator, Apart):
                self._join(number, node, operator)

    def _bind_kept(self, number: int, node: PlannedNode, operator: Upsert | Subscribe | Settle) -> None:
        """Tables that others look into: they keep what the slowest of these may ask for."""
        closed_to = reading(self.hooks.closed_to, max(self._held_ms.values()))
        table: KeyedTable | VersionedTable | AskedTable
        match operator:
            case Upsert():
                border_moved = hooks_behind(self.hooks, behind_ms(node, self._held_ms)).border_moved
                dropped = partial(self.names["task"].counters.count_dropped, number)
                table, bound = bind_table(node, operator, number, self.store, closed_to, dropped, border_moved)
            case Subscribe():
                table, bound = bind_subscribe(node, operator, number, self.store, self.names)
            case Settle():
                table, bound = bind_settle(node, operator, number, self.store, closed_to)
        self.names |= bound
        if isinstance(table, EndingVersions):
            self._add(number, node, KeyEndings(table, self.store, node.key_type), None)
        else:
            self.keyed.append(table)

    def _table(self, number: int, node: PlannedNode) -> FoldTable:
        table = next(table for table in self.program.stage.tables if table.node == node.name)
        hooks = hooks_behind(self.hooks, behind_ms(node, self._held_ms))
        made = make_table(node, number, table, self.program.layouts.get(node.name), self.store, hooks)
        if isinstance(node.operator, Fold) and node.operator.told_per_row:
            assert isinstance(made, PaneTable | SessionTable | KeyedFold)
            self.untold.append(made.untold_count)
        if isinstance(made, ProcessTable):
            self.processes.append(made)
            task = self.names["task"]
            bus, made.place = task.bus, {"task": f"{task.stage.name}/{task.partition}", "node": node.name}
            if isinstance(made.node, Watch) and bus is not None:
                made.node.say = partial(bus.alert, node.name)
            elif isinstance(made.node, VersionedWrites):
                made.node.tell = partial(hooks.judged, node.name)
            self.clocked.append(made)
        self._add(number, node, made, getattr(node.operator, "late_topic", None))
        return made

    def _approvals(self, number: int, node: PlannedNode, operator: Park) -> ApprovalTable:
        task, hooks = self.names["task"], hooks_behind(self.hooks, behind_ms(node, self._held_ms))
        return ApprovalTable(
            operator,
            self.store,
            self.program.row_types[node.name],
            task.partition,
            give=partial(hooks.give, number, node.name),
            say=None if task.bus is None else partial(task.bus.approval, node.name),
            parks=partial(hooks.parks, node.name),
            border_moved=hooks.border_moved,
            watermark_now=hooks.settled_watermark,
            released_at=hooks.watermark_now,
            now=hooks.now,
            cancelled=hooks.cancelled,
        )

    def _join(self, number: int, node: PlannedNode, operator: Apart) -> None:
        stage, hooks = self.program.stage, self.hooks
        watermarks = [
            reading(port_watermark(stage, node, port, self.clocks, hooks.closed_to), self._held_ms.get(name, 0))
            for port, name in enumerate(node.inputs)
        ]
        of_task = reading(hooks.closed_to, behind_ms(node, self._held_ms))
        made = bind_join(node, number, self.store, watermarks, of_task, self.names, self.outputs)
        self.names |= made.names
        if made.keyed is not None:
            self.keyed.append(made.keyed)
        if made.table is not None:
            self._add(number, node, made.table, operator.late_topic)

    def _add(self, number: int, node: PlannedNode, table: FoldTable, late_topic: str | None) -> None:
        lag_ms = behind_ms(node, self._held_ms)
        timed = HeldBack(table, lag_ms) if lag_ms else table
        if late_topic is not None:
            self.late[number] = node.name, timed, self.outputs.router(late_topic)[1]
        opened = self.hooks.opened_at(len(self.folds))
        timed.open_at(opened.watermark_ms)
        if isinstance(table, PaneTable | SessionTable | KeyedFold):
            table.resume(opened.rows, behind(opened.told_ms, lag_ms))
        self.folds.append((number, timed, partial(self.hooks.emit, number, node.name)))
