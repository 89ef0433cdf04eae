"""What a plan's reader should know before running it: nothing wrong, but nothing that goes without saying either."""

from collections.abc import Iterator

from streamflow.model.durations import format_duration
from streamflow.nodes.foreign_operators import Answer, Settle
from streamflow.nodes.join_operators import Combine, Join, Upsert, VersionLookup
from streamflow.nodes.operators import Count, Emit, Fold, Lookup, Process, Rekey
from streamflow.plan.held_back import behind_ms, held_back_ms
from streamflow.plan.plan import Entry, EntryKind, ErrorBudget, Plan, PlannedNode, Stage
from streamflow.windows.count import Counted
from streamflow.windows.unbounded import Unbounded


def notes(plan: Plan) -> list[str]:
    """Sentences, each beginning with the node they are about."""
    found = [*plan.repairs, *(f"{node}: {text}" for stage in plan.stages for node, text in _stage_notes(stage))]
    return found + [f"{budget.node}: {_budget_note(budget)}" for budget in plan.error_budgets]


def _budget_note(budget: ErrorBudget) -> str:
    bounds = [] if budget.failures is None else [f"{budget.failures}"]
    if budget.percent is not None:
        bounds.append(f"{budget.percent:g} % of at least {budget.at_least} rows")
    return f"more dead letters than {' or '.join(bounds)} within {format_duration(budget.per_ms)} pause the topology"


def _stage_notes(stage: Stage) -> Iterator[tuple[str, str]]:
    windows = any(isinstance(node.operator, Fold | Join | VersionLookup | Combine) for node in stage.nodes)
    for entry in stage.entries:
        if entry.kind is EntryKind.SOURCE and not entry.level:
            yield from _source_notes(entry, bool(stage.tables), windows)
    held_ms = held_back_ms(stage.nodes)
    for node in stage.nodes:
        yield from ((node.name, text) for text in _node_notes(node))
        if held_ms[node.name] > behind_ms(node, held_ms):
            yield (
                node.name,
                f"its rows may come {format_duration(held_ms[node.name])} late: time behind it is held back",
            )


def _source_notes(entry: Entry, has_tables: bool, has_windows: bool) -> Iterator[tuple[str, str]]:
    if has_tables and entry.key is not None and entry.key.nullable:
        yield entry.node, f"events whose {entry.key.source} is null become dead letters (null_key)"
    if entry.event_time is None:
        yield entry.node, "event time is the time that Kafka has for the record"
    elif has_windows and entry.watermark_delay_ms == 0:
        yield entry.node, "watermark_delay is 0: an event is late as soon as a later one closed its window"


def _node_notes(node: PlannedNode) -> Iterator[str]:
    match node.operator:
        case Rekey() if node.operator.key.nullable:
            yield f"rows whose {node.operator.key.source} is null become dead letters (null_key)"
        case Lookup():
            yield f"takes the row that {node.operator.table} has while a row is processed, not as of its event time"
        case Count():
            yield f"table {node.operator.table} keeps one row per key for ever"
        case Process() if any(state.ttl_ms is None for state in node.operator.declared.states):
            yield f"table {node.operator.table} keeps states without a ttl until the node clears them"
        case Fold():
            keep = format_duration(node.operator.retention_ms)
            if isinstance(node.operator.window, Counted | Unbounded) and node.operator.retention_ms:
                yield f"table {node.operator.table} forgets a key {keep} of event time after its last row"
            elif isinstance(node.operator.window, Counted | Unbounded):
                yield f"table {node.operator.table} keeps one row per key for ever"
            else:
                yield f"table {node.operator.table} keeps a window for {keep} of event time after its end"
            if node.operator.repeats:
                yield "gives a result again whenever it changes; the last one of a key and start is right"
        case Emit() if node.key_name is None:
            yield f"rows have no key, so they are spread over {node.operator.topic} by the partition they came from"
        case _:
            yield from _join_notes(node)


def _join_notes(node: PlannedNode) -> Iterator[str]:
    match node.operator:
        case Join():
            wait = format_duration(max(node.operator.reach_ms) + node.operator.allowed_lateness_ms)
            yield f"table {node.operator.table} keeps a row until the watermark is {wait} past it, for partners to come"
        case Upsert():
            keep = format_duration(node.operator.retention_ms)
            most = f"at most {node.operator.versions} of a key"
            ttl = node.operator.ttl_ms
            newest = f"a key for {format_duration(ttl)} after its newest" if ttl else "the newest for ever"
            yield f"table {node.operator.table} keeps versions for {keep} of event time, {most}, {newest}"
        case Answer():
            yield f"table {node.operator.table} keeps the rows that name a key, at most {node.operator.max_rows} of one"
        case Settle():
            yield f"table {node.operator.table} keeps the results; the last one of a key is right"
        case VersionLookup() if node.operator.waits:
            yield "rows wait until the table's watermark has passed their time"
        case VersionLookup() if not node.operator.as_of:
            yield "takes the table as it is when a row is read, so what is read first decides; as_of does not"
        case Combine():
            wait = format_duration(node.operator.timeout_ms)
            where = node.operator.incomplete_topic
            yield f"what is incomplete {wait} after its first row {f'leaves for {where}' if where else 'passes on'}"
