"""What the queries must give: each `qN.sql` run by DuckDB over the same events, compared row by row.

The SQL is that of github.com/nexmark/nexmark (nexmark-flink/src/main/resources/queries) in DuckDB's words, with times
as epoch milliseconds. Results that replace earlier ones (`KEYS`) count with the last row of their key.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import duckdb
import orjson

FOLDER = Path(__file__).parent
QUERIES = ("q0", "q1", "q2", "q3", "q4", "q5", "q7", "q8", "q11", "q12", "q16", "q17", "q20")
#: Queries whose rows are updates, and the fields that such a row is known by.
KEYS = {"q4": ("id",), "q16": ("channel", "day"), "q17": ("auction", "day")}
#: Distinct counts are exact up to 256 values, then a sketch (docs/aggregates.md): the error with 99.7 % confidence.
_EXACT, _ERROR = 256, 0.0497
_APPROXIMATE = {"q16": ("bidders", "auctions")}
_TABLES = {
    "person": "id BIGINT, name VARCHAR, city VARCHAR, state VARCHAR, dateTime BIGINT",
    "auction": "id BIGINT, itemName VARCHAR, description VARCHAR, initialBid BIGINT, reserve BIGINT, dateTime BIGINT, "
    "expires BIGINT, seller BIGINT, category BIGINT, extra VARCHAR",
    "bid": "auction BIGINT, bidder BIGINT, price BIGINT, channel VARCHAR, url VARCHAR, dateTime BIGINT, extra VARCHAR, "
    "appended BIGINT",
}


@dataclass(frozen=True)
class Compared:
    """Rows that the reference has, and how many are missing among the results, or too many."""

    expected: int
    missing: int
    extra: int


class Reference:
    """The events in DuckDB. `folder` has them as JSON lines by topic: nexmark.persons, …

    Bids may have a field `appended`, the time of their record, which q12 needs.
    """

    def __init__(self, folder: Path) -> None:
        self._db, self._folder = duckdb.connect(), folder
        for table, columns in _TABLES.items():
            self._load(table, folder / f"nexmark.{table}s", columns)

    def _load(self, table: str, lines: Path, columns: str) -> None:
        types = dict(each.split() for each in columns.split(", "))
        rows = f"read_json(?, format='newline_delimited', columns={types})"
        self._db.execute(f"CREATE OR REPLACE TABLE {table} AS FROM {rows}", [str(lines)])

    def compare(self, query: str, results: Iterable[bytes]) -> Compared:
        """Results of a query, as JSON in the order of the topic, with those of DuckDB."""
        lines = self._folder / f"{query}.results"
        with lines.open("wb") as file:
            file.writelines(line + b"\n" for line in _newest(results, KEYS.get(query, ())))
        self._db.execute(f"CREATE OR REPLACE TABLE wanted AS {(FOLDER / f'{query}.sql').read_text()}")
        described = self._db.sql("DESCRIBE wanted").fetchall()
        self._load("found", lines, ", ".join(f"{name} {kind}" for name, kind, *_ in described))
        columns = ", ".join(
            f"round({name}, 3)" if kind == "DOUBLE" else name
            for name, kind, *_ in described
            if not name.endswith(_APPROXIMATE.get(query, ()))
        )
        missing, extra = (
            self._count(f"(SELECT {columns} FROM {one} EXCEPT ALL SELECT {columns} FROM {other})")
            for one, other in (("wanted", "found"), ("found", "wanted"))
        )
        if query in _APPROXIMATE:
            names = [name for name, *_ in described if name.endswith(_APPROXIMATE[query])]
            missing += self._beyond_error(names, KEYS[query])
        return Compared(self._count("wanted"), missing, extra)

    def _beyond_error(self, names: list[str], key: tuple[str, ...]) -> int:
        wrong = " OR ".join(
            f"abs(found.{name} - wanted.{name}) > if(wanted.{name} > {_EXACT}, {_ERROR} * wanted.{name}, 0)"
            for name in names
        )
        return self._count(f"(SELECT 1 FROM found JOIN wanted USING ({', '.join(key)}) WHERE {wrong})")

    def _count(self, what: str) -> int:
        (count,) = self._db.sql(f"SELECT count(*) FROM {what}").fetchall()[0]
        return int(count)


def _newest(results: Iterable[bytes], key: tuple[str, ...]) -> Iterable[bytes]:
    """The last result of each key; all of them without a key."""
    if not key:
        return results
    found = {}
    for line in results:
        row = orjson.loads(line)
        found[tuple(row[name] for name in key)] = line
    return found.values()
