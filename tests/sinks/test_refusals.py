"""Rows that a database does not take: dead letters, each once, whatever dies around a commit; all others are there."""

import json
import sqlite3
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import psycopg
import pytest

from streamflow.bus.detail import Detail
from streamflow.bus.event_types import checked
from streamflow.bus.executions import ExecutionTable
from streamflow.errors import SinkRefused
from streamflow.model.chunk import Chunk, Run
from streamflow.plan.planner import make_plan
from streamflow.plan.runs import bounded
from streamflow.sinks import databases, sql
from streamflow.sinks.target import SqlTarget
from streamflow.testing.driver import EVENTS, CrashPoint, Driver
from streamflow.topology.document import spec_of
from tests.sinks import postgres
from tests.sinks.test_sinks import SINKS, document, sales

COUNT = 120
#: Refused one by one: a check, a length, a second row of the same key, and a check that is judged at the commit.
TABLE = """
CREATE TABLE sales (time bigint, id integer CHECK (id % 7 <> 0), shop varchar(3){length}, amount float, tags {json},
                    day integer GENERATED ALWAYS AS (id % 50) STORED UNIQUE{later})
"""


class Database:
    """As a person sees it."""

    def __init__(self, url: str) -> None:
        self.url, self.is_postgres = url, url.startswith("postgres")

    def run(self, *statements: str) -> list[tuple[Any, ...]]:
        """Rows of the last one."""
        if self.is_postgres:
            with psycopg.connect(self.url) as served:
                for statement in statements:
                    cursor = served.execute(statement)
                return cursor.fetchall() if cursor.description else []
        with sqlite3.connect(self.url.removeprefix("sqlite:///")) as local:
            for statement in statements:
                rows = local.execute(statement).fetchall()
            return rows

    def begin(self) -> None:
        """The table, empty, and nothing of ours."""
        dropped = [f"DROP TABLE IF EXISTS {name}" for name in ("sales", "streamflow_positions", "streamflow_refused")]
        more = (
            ("", "jsonb", " DEFERRABLE INITIALLY DEFERRED")
            if self.is_postgres
            else (" CHECK (length(shop) <= 3)", "text", "")
        )
        self.run(*dropped, TABLE.format(**dict(zip(("length", "json", "later"), more, strict=True))))


@pytest.fixture(scope="module")
def served() -> Iterator[str | None]:
    """URL of PostgreSQL, None where there is no server."""
    if postgres.installed():
        with postgres.server() as url:
            yield url
    else:
        yield None


@pytest.fixture(params=["sqlite", "postgres"])
def database(
    request: pytest.FixtureRequest, served: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Database:
    if request.param == "postgres" and served is None:
        warnings.warn("no PostgreSQL on this machine: it is NOT tested", pytest.PytestWarning, stacklevel=1)
    url = (served if request.param == "postgres" else None) or f"sqlite:///{tmp_path / 'db'}"
    monkeypatch.setenv("TEST_SQL_URL", url)
    return Database(url)


def rows() -> list[dict[str, Any]]:
    """One in nine has a shop whose name is too long, with a character that PostgreSQL has none for."""
    return [row | ({"shop": f"{row['shop']}..\0"} if row["id"] % 9 == 0 else {}) for row in sales(COUNT)]


def expected() -> tuple[set[int], dict[int, str]]:
    """What the model says: ids that are in, and those that are refused with their shops."""
    taken, refused, days = set(), {}, set()
    for row in rows():
        number = row["id"]
        if number % 5 == 0:
            continue
        if number % 7 == 0 or number % 9 == 0 or number % 50 in days:
            refused[number] = row["shop"]
        else:
            days.add(number % 50)
            taken.add(number)
    return taken, refused


def driver(**shape: Any) -> Driver:
    return Driver(bounded(make_plan(spec_of(document(**SINKS["sqlite"])))), **shape)


@pytest.mark.parametrize("point", [None, *CrashPoint])
def test_refused_rows_are_letters_once_and_the_others_are_in(database: Database, point: CrashPoint | None) -> None:
    taken, refused = expected()
    for shape in ({"chunk_size": 50}, {"chunk_size": 7, "checkpoint_every": 3, "overlap": True, "fused": False}):
        database.begin()
        made = driver(**shape)
        made.crash_at = dict.fromkeys(range(2, 90, 3), point) if point else {}
        for start in range(0, COUNT, 40):
            made.publish("sales", rows()[start : start + 40])
            made.run()
        made.finish()
        assert {number for (number,) in database.run("SELECT id FROM sales")} == taken, shape
        letters = made.dead_letters()
        assert {each["sf-node"] for each in letters} == {"kept"}
        assert {(each["sf-reason"], each["sf-class"], each["sf-target"]) for each in letters} == {
            ("refused", "permanent", "sales")
        }
        assert {(each["sf-topic"], each["sf-node-version"]) for each in letters} == {("t.kept.feed", "sql_sink@1.0.0")}
        records = {str(each.offset): each.value for each in made.records("t.kept.feed")}
        dead = made.records(made.plan.dead_letter_topic)
        assert [record.value for record in dead] == [records[each["sf-offset"]] for each in letters]
        assert sorted(_id(record.value) for record in dead) == sorted(refused), shape
        # What was noted for a successor is gone once Kafka is behind it.
        [(notes,)] = database.run("SELECT count(*) FROM streamflow_refused")
        assert notes < len(refused)


@pytest.mark.parametrize(
    ("point", "detail"),
    [(None, Detail.LIFECYCLE), (CrashPoint.BEFORE_COMMIT, Detail.EVERY), (CrashPoint.BEFORE_STORE, Detail.EVERY)],
)
def test_an_execution_whose_row_is_refused_has_failed(
    database: Database, point: CrashPoint | None, detail: Detail
) -> None:
    _, refused = expected()
    database.begin()
    made = driver(chunk_size=25, events=detail)
    made.crash_at = dict.fromkeys(range(2, 90, 3), point) if point else {}
    for row in rows():
        made.publish("sales", [row], correlation=f"{row['id']:011x}-{row['id']:032x}")
    made.run()
    table = ExecutionTable()
    for record in made.records(EVENTS):
        event = orjson.loads(record.value or b"")
        checked(event["type"], event["data"])
        table.add(event)
    for row in rows():
        name, is_refused = f"{row['id']:011x}-{row['id']:032x}", row["id"] in refused
        told, outcome = table.row(name), made.outcome(name)
        assert told is not None
        assert (told["state"], told["reason"], told["refused"]) == (
            ("failed", "refused", 0) if is_refused else ("completed", "", 0)
        )
        states = {each["node"]: each["state"] for each in told["nodes"]}
        assert states.get("kept", "completed") == ("failed" if is_refused else "completed")
        assert (outcome.is_complete, [each["node"] for each in outcome.dead]) == (True, ["kept"] if is_refused else [])


def test_what_is_no_fault_of_a_row_ends_the_worker(database: Database) -> None:
    """A column that the table has not; nothing becomes a letter."""
    database.begin()
    database.run("ALTER TABLE sales DROP COLUMN amount")
    made = driver(chunk_size=50)
    made.publish("sales", rows())
    with pytest.raises(SinkRefused, match="cannot be written"):
        made.finish()
    assert made.dead_letters() == []
    assert database.run("SELECT id FROM sales") == []


def test_every_row_may_be_refused_and_the_report_counts_them(database: Database) -> None:
    database.begin()
    made = driver(chunk_size=50)
    made.publish("sales", [row | {"shop": "far too long"} for row in sales(COUNT)])
    made.finish()
    wanted = sum(1 for row in sales(COUNT) if row["id"] % 5)
    assert len(made.dead_letters()) == wanted
    counts = [task.counters.by_node()["kept"].dead for task in made.tasks() if task.stage.name == "kept"]
    assert counts == [wanted]


def _id(value: bytes | None) -> int:
    return int(json.loads(value or b"")[2])


def _delivery(folder: Path, monkeypatch: pytest.MonkeyPatch, *statements: str) -> sql.SqlDelivery:
    """To a table of SQLite that refuses ids below 0; three rows wait."""
    database = Database(f"sqlite:///{folder / 'db'}")
    database.run("CREATE TABLE sales (time, id CHECK (id >= 0), shop, amount, tags)", *statements)
    monkeypatch.setenv("TEST_SQL_URL", database.url)
    monkeypatch.setattr(sql, "PAUSE_S", 0.0)
    plan = make_plan(spec_of(document(**SINKS["sqlite"])))
    schema = plan.stage("kept").entries[0].schema
    made = sql.SqlDelivery(SqlTarget("TEST_SQL_URL", "sales", (), False, 1, 1), schema, "t.kept", 0, 0)
    chunk = Chunk("t.kept.feed", 0, [b""] * 3, [Run(0, 0, 0)], 3)
    for index, number in enumerate((1, -1, 2)):
        made.add(schema.row_type(time=0, id=number, shop="x" * (100_000 * index), amount=None, tags=[]), chunk, index)
    return made


def test_a_disk_that_is_full_while_refused_rows_are_looked_for_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite ends the whole transaction then, its savepoints too; another connection finds room."""
    delivery = _delivery(tmp_path, monkeypatch)
    database = delivery._connected()
    [(pages,)], _ = database.run("PRAGMA page_count")
    database.run(f"PRAGMA max_page_count = {pages + 5}")
    batch = delivery.take(3)
    assert batch is not None
    assert [each.index for each in batch.prepare()] == [1]
    with sqlite3.connect(tmp_path / "db") as found:
        assert found.execute("SELECT id FROM sales ORDER BY id").fetchall() == [(1,), (2,)]


def test_an_owner_that_stands_still_in_its_transaction_keeps_its_successor_out_for_a_moment_only(
    served: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if served is None:
        pytest.skip("no PostgreSQL on this machine")
    Database(served).begin()
    monkeypatch.setenv("TEST_SQL_URL", served)
    monkeypatch.setattr(databases, "_SILENT_S", 1)
    schema = make_plan(spec_of(document(**SINKS["sqlite"]))).stage("kept").entries[0].schema
    target = SqlTarget("TEST_SQL_URL", "sales", (), True, 1, 1)
    old = sql.SqlDelivery(target, schema, "t.kept", 0, 0)
    stalled = old._connected()
    stalled.run("BEGIN")
    old._move(stalled, 0, 5)
    new = sql.SqlDelivery(target, schema, "t.kept", 0, 0)
    assert new.done_until == 0
    # Awake again it is told so, begins anew, and is still who was there last.
    old.add(schema.row_type(time=0, id=1, shop="a", amount=None, tags=[]), Chunk("f", 0, [b""], [Run(0, 0, 0)], 1), 0)
    batch = old.take(1)
    assert batch is not None
    assert batch.prepare() == []
    assert Database(served).run("SELECT next FROM streamflow_positions") == [(1,)]
    for each in (old, new):
        each.close()


def test_a_row_that_ends_the_whole_transaction_is_nobodys_letter_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trigger = "CREATE TRIGGER no BEFORE INSERT ON sales WHEN NEW.id = 1 BEGIN SELECT RAISE(ROLLBACK, 'no'); END"
    batch = _delivery(tmp_path, monkeypatch, trigger).take(3)
    assert batch is not None
    with pytest.raises(SinkRefused, match="ended the whole transaction: no"):
        batch.prepare()
    with sqlite3.connect(tmp_path / "db") as found:
        assert found.execute("SELECT id FROM sales").fetchall() == []
        assert found.execute("SELECT next FROM streamflow_positions").fetchall() == [(0,)]
