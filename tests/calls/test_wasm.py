"""The wasm node with modules of these tests, against plain Python: what comes out, and what no module can do."""

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamflow.errors import TopologyError
from streamflow.nodes.operators import Await
from streamflow.plan.planner import make_plan
from streamflow.testing.driver import CrashPoint, Driver
from streamflow.topology.document import spec_of

MODULE = r"""
(module
  (memory (export "memory") 1)
  (data (i32.const 0) "{\"n\": 1}[{\"n\": 1}, {\"n\": 2}]{\"n\": 1.5}")
  (global $free (mut i32) (i32.const 1024))
  (global $calls (mut i32) (i32.const 0))
  (func (export "alloc") (param i32) (result i32)
    (global.set $free (i32.add (global.get $free) (local.get 0)))
    (i32.sub (global.get $free) (local.get 0)))

  ;; value * value > limit
  (func (export "above") (param f64 i64) (result i32)
    (f64.gt (f64.mul (local.get 0) (local.get 0)) (f64.convert_i64_s (local.get 1))))
  (func (export "half") (param f64) (result f64) (f64.mul (local.get 0) (f64.const 0.5)))
  (func (export "low") (param i32) (result i32) (local.get 0))
  (func (export "no_number") (result f64) (f64.div (f64.const 0) (f64.const 0)))
  ;; 1000 / n: a trap at 0. At 7 it never ends, at 8 it takes as much memory as it can and then traps.
  (func (export "share") (param $n i64) (result i64)
    (if (i64.eq (local.get $n) (i64.const 7)) (then (loop $on (br $on))))
    (if (i64.eq (local.get $n) (i64.const 8)) (then
      (loop $on (br_if $on (i32.ge_s (memory.grow (i32.const 1)) (i32.const 0)))) unreachable))
    (i64.div_s (i64.const 1000) (local.get $n)))
  ;; Counts its calls in a global and in memory.
  (func (export "calls") (result i32)
    (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
    (i32.store (i32.const 512) (i32.add (i32.load (i32.const 512)) (i32.const 1)))
    (i32.add (global.get $calls) (i32.load (i32.const 512))))

  ;; Every "a" of the row becomes a "b".
  (func (export "without_a") (param $at i32) (param $size i32) (result i64) (local $here i32)
    (local.set $here (local.get $at))
    (block $done (loop $next
      (br_if $done (i32.eq (local.get $here) (i32.add (local.get $at) (local.get $size))))
      (if (i32.eq (i32.load8_u (local.get $here)) (i32.const 97)) (then
        (i32.store8 (local.get $here) (i32.const 98))))
      (local.set $here (i32.add (local.get $here) (i32.const 1)))
      (br $next)))
    (i64.or (i64.shl (i64.extend_i32_u (local.get $at)) (i64.const 32)) (i64.extend_i32_u (local.get $size))))
  (func (export "nothing") (param i32 i32) (result i64) (i64.const 0))
  (func (export "one") (param i32 i32) (result i64) (i64.const 8))
  (func (export "two") (param i32 i32) (result i64) (i64.const 0x800000014))
  (func (export "fraction") (param i32 i32) (result i64) (i64.const 0x1c0000000a))
  (func (export "beyond") (param i32 i32) (result i64) (i64.const 0xffff00000010)))
"""


@pytest.fixture(autouse=True)
def _beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with modules, as a topology's folder is."""
    import wasmtime

    (tmp_path / "own.wat").write_text(MODULE)
    (tmp_path / "own.wasm").write_bytes(wasmtime.wat2wasm(MODULE))
    (tmp_path / "asking.wat").write_text(
        """(module (import "env" "abort" (func $abort)) (import "wasi_snapshot_preview1" "fd_write" (func))
             (func (export "go") (param i64) (result i64) (if (i64.eqz (local.get 0)) (then (call $abort)))
             (local.get 0)))"""
    )
    (tmp_path / "wants.wat").write_text('(module (import "env" "memory" (memory 1)) (func (export "go")))')
    (tmp_path / "starts.wat").write_text(
        '(module (global $n (mut i32) (i32.const 0)) (func (export "_initialize") (global.set $n (i32.const 5)))'
        ' (func (export "go") (result i32) (global.get $n)))'
    )
    (tmp_path / "text.wasm").write_text("no module")
    monkeypatch.syspath_prepend(str(tmp_path))


def driver(config: dict[str, Any], schema: dict[str, str], **shape: Any) -> Driver:
    document = {
        "topology": "t",
        "schemas": {"Asked": schema},
        "nodes": {
            "asked": {"kind": "source", "topic": "asked", "schema": "Asked"},
            "it": {"kind": "wasm", "input": "asked", "module": "own.wat", **config},
            "out": {"kind": "sink", "input": "it", "topic": "out"},
        },
    }
    return Driver(make_plan(spec_of(document)), **shape)


def run(
    config: dict[str, Any], rows: list[dict[str, Any]], schema: dict[str, str] | None = None, **shape: Any
) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """Rows out, and headers of the dead letters."""
    made = driver(config, schema or {"n": "int"}, **shape)
    made.publish("asked", rows)
    made.run()
    rows, letters = made.output("out"), made.dead_letters()
    made.close()
    return rows, letters


def refused(schema: dict[str, str] | None = None, /, **config: Any) -> str:
    with pytest.raises(TopologyError) as error:
        driver(config, schema or {"n": "int", "value": "float", "text": "str", "may": "int?"})
    return str(error.value)


@settings(max_examples=30)
@given(st.lists(st.tuples(st.floats(-100, 100), st.integers(-1_000, 10_000)), max_size=30))
def test_numbers_of_a_row_decide_whether_it_stays(values: list[tuple[float, int]]) -> None:
    rows = [{"value": value, "limit": limit} for value, limit in values]
    config = {"function": "above", "arguments": ["value", "limit"]}
    found, letters = run(config, rows, {"value": "float", "limit": "int"}, chunk_size=4)
    assert found == [row for row in rows if row["value"] ** 2 > row["limit"]]
    assert letters == []


@settings(max_examples=30)
@given(st.lists(st.text('abc"\\ äé€\n', max_size=20), max_size=20))
def test_a_row_goes_in_and_out_as_json(texts: list[str]) -> None:
    rows = [{"n": number, "text": text, "more": [text, {"x": None}]} for number, text in enumerate(texts)]
    schema = {"n": "int", "text": "str", "more": "json", "not_there": "float?"}
    found, _ = run({"function": "without_a", "module": "own.wasm"}, rows, schema, fused=False)
    as_text = [json.dumps(row | {"not_there": None}, ensure_ascii=False) for row in rows]
    assert found == [json.loads(text.replace("a", "b")) for text in as_text]


@pytest.mark.parametrize("shape", [{}, {"chunk_size": 1}, {"crashes": True, "chunk_size": 3}])
def test_a_trap_or_a_limit_is_a_dead_letter_and_the_next_row_goes_on(shape: dict[str, Any]) -> None:
    shape = dict(shape)
    crashes = shape.pop("crashes", False)
    made = driver({"function": "share", "arguments": ["n"], "field": "share"}, {"n": "int"}, **shape)
    made.crash_at = {3: CrashPoint.BEFORE_COMMIT, 6: CrashPoint.BEFORE_STORE} if crashes else {}
    made.publish("asked", [{"n": number} for number in range(12)])
    made.run()
    assert made.output("out") == [{"n": n, "share": 1_000 // n} for n in range(12) if n not in (0, 7, 8)]
    letters = made.dead_letters()
    told = [(each["sf-node"], each["sf-offset"], each["sf-reason"], each["sf-class"]) for each in letters]
    assert told == [
        ("it", "0", "wasm_trap", "permanent"),
        ("it", "7", "wasm_fuel", "permanent"),
        ("it", "8", "wasm_trap", "permanent"),
    ]
    assert [each["sf-error"] for each in letters] == [
        "share: wasm trap: integer divide by zero",
        "share: wasm trap: all fuel consumed by WebAssembly",
        "share: wasm trap: wasm `unreachable` instruction executed",
    ]
    made.close()


def test_nothing_of_a_row_is_left_for_the_next() -> None:
    found, _ = run({"function": "calls", "arguments": [], "field": "calls"}, [{"n": n} for n in range(5)])
    assert [row["calls"] for row in found] == [2] * 5


def test_a_language_may_begin_before_the_first_function() -> None:
    found, _ = run({"module": "starts.wat", "function": "go", "arguments": [], "field": "x"}, [{"n": 1}])
    assert found == [{"n": 1, "x": 5}]


@pytest.mark.parametrize(
    ("function", "rows", "said"),
    [
        ("nothing", [], None),
        ("one", [1], None),
        ("two", [1, 2], None),
        ("fraction", [], "its result is no row"),
        ("beyond", [], "its result is 16 bytes at 65535, its memory has 65536"),
    ],
)
def test_a_function_gives_no_row_one_several_or_what_is_none(function: str, rows: list[int], said: str | None) -> None:
    found, letters = run({"function": function, "output": {"n": "int"}}, [{"text": "x"}], {"text": "str"})
    assert found == [{"n": n} for n in rows]
    assert [(each["sf-reason"], said in each["sf-error"]) for each in letters if said] == [
        ("wasm_result", True)
    ] * bool(said)


def test_numbers_that_do_not_fit_are_dead_letters() -> None:
    found, letters = run({"function": "low", "arguments": ["n"], "field": "x"}, [{"n": 2**31 - 1}, {"n": 2**31}])
    assert found == [{"n": 2**31 - 1, "x": 2**31 - 1}]
    assert [(each["sf-reason"], each["sf-error"]) for each in letters] == [
        ("wasm_argument", "2147483648 does not fit into i32")
    ]
    found, letters = run({"function": "no_number", "arguments": [], "field": "x"}, [{"n": 1}])
    assert (found, [each["sf-reason"] for each in letters]) == ([], ["process"])


def test_a_row_stands_in_where_one_is_declared() -> None:
    config = {"function": "share", "arguments": ["n"], "field": "share"}
    found, letters = run(config | {"resilience": {"fallback": {"n": -1, "share": 0}}}, [{"n": 0}, {"n": 10}])
    assert (found, letters) == ([{"n": -1, "share": 0}, {"n": 10, "share": 100}], [])


def test_in_threads_results_are_the_same_and_may_be_kept() -> None:
    config = {"function": "share", "arguments": ["n"], "field": "share", "threads": 3}
    resilience = {"timeout": "60s", "cache": {"ttl": "1h"}}
    made = driver(config | {"resilience": resilience}, {"n": "int"}, partitions=1)
    made.publish("asked", [{"n": n % 6 + (n % 6 >= 5) * 2} for n in range(30)])
    made.run()
    assert made.output("out") == [{"n": n % 6, "share": 1_000 // (n % 6)} for n in range(30) if 0 < n % 6 < 5]
    assert sorted((each["sf-reason"], each["sf-calls"]) for each in made.dead_letters()) == [
        *[("wasm_fuel", "1")] * 5,
        *[("wasm_trap", "1")] * 5,
    ]
    made.close()


@pytest.mark.parametrize(("bulkhead", "expected"), [({}, 3), ({"bulkhead": 2}, 2), ({"bulkhead": 9}, 3)])
def test_no_more_calls_are_under_way_than_threads_or_what_is_declared(bulkhead: dict[str, int], expected: int) -> None:
    calls: dict[str, Any] = {"function": "share", "arguments": ["n"], "field": "share", "threads": 3}
    made = driver(calls | {"resilience": bulkhead}, {"n": "int"}, partitions=1)
    found = [node.operator for stage in made.plan.stages for node in stage.nodes]
    assert [each.policy.bulkhead for each in found if isinstance(each, Await)] == [expected]
    made.close()


def test_what_a_module_imports_has_to_be_declared_and_still_gives_nothing() -> None:
    said = refused(module="asking.wat", function="go", arguments=["n"], field="x")
    assert "imports env.abort, wasi_snapshot_preview1.fd_write, and gets nothing" in said
    imports = ["env.abort", "wasi_snapshot_preview1.fd_write"]
    config = {"module": "asking.wat", "function": "go", "arguments": ["n"], "field": "x", "imports": imports}
    found, letters = run(config, [{"n": 3}, {"n": 0}])
    assert found == [{"n": 3, "x": 3}]
    assert [each["sf-reason"] for each in letters] == ["wasm_trap"]
    assert "no function" in refused(module="wants.wat", function="go", imports=["env.memory"])


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"module": "none.wasm"}, "there is no module 'none.wasm'"),
        ({"module": "../own.wasm"}, "leads elsewhere"),
        ({"module": "/own.wasm"}, "leads elsewhere"),
        ({"module": "text.wasm"}, "no WebAssembly module"),
        ({"sha256": "0" * 64}, sha256(MODULE.encode()).hexdigest()),
        ({"function": "abov"}, "did you mean 'above'"),
        ({"arguments": ["value"]}, "1 arguments are given"),
        ({"arguments": ["value", "value"]}, "value is float, the function wants i64"),
        ({"arguments": ["value", "may"]}, "may may be null"),
        ({"arguments": ["value", "text"]}, "text is str, the function wants i64"),
        ({"arguments": None}, "above is (f64, i64) → (i32)"),
        ({"arguments": ["n"], "function": "share"}, "it must give one i32"),
        ({"field": "value"}, "rows have a field 'value' already"),
        ({"output": {"n": "int"}}, "gives a number, no rows"),
        ({"function": "one", "arguments": None, "output": {"n": "integer"}}, "unknown type 'integer'"),
        ({"function": "one", "arguments": None, "field": "x"}, "gives rows, no number"),
        ({"fuel": 1_000_000_000}, "hold up the worker"),
        ({"memory_pages": 1, "module": "big.wat"}, "there is no module"),
        ({"order": "unordered", "resilience": {"timeout": "1s"}}, "does not wait for it"),
    ],
)
def test_what_cannot_run_is_refused_before_it_runs(config: dict[str, Any], said: str) -> None:
    base = {"function": "above", "arguments": ["value", "n"]}
    found = refused(**{name: value for name, value in {**base, **config}.items() if value is not None})
    assert said in found, found


def test_a_module_that_is_larger_than_its_bound_is_refused(tmp_path: Path) -> None:
    (tmp_path / "big.wat").write_text('(module (memory 17) (func (export "go") (result i32) (i32.const 1)))')
    assert "exceeds memory limits" in refused(module="big.wat", function="go", arguments=[], memory_pages=16)
    found, _ = run({"module": "big.wat", "function": "go", "arguments": [], "memory_pages": 17}, [{"n": 1}])
    assert found == [{"n": 1}]
