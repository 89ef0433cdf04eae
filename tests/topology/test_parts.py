"""Cutting a topology into parts that run together."""

import time

from hypothesis import given, settings
from hypothesis import strategies as st

from streamflow.topology.graph import children_of, ordered
from streamflow.topology.parts import cut, feedback, repartitioned
from streamflow.topology.spec import NodeSpec, TopologySpec

SCHEMAS = {"Reading": {"value": "float"}}


def topology(**nodes: str) -> TopologySpec:
    """A topology of `name="kind input input"`."""
    made = [(name, *text.split()) for name, text in nodes.items()]
    return TopologySpec(
        topology="t",
        schemas=SCHEMAS,
        nodes=tuple(NodeSpec(name=name, kind=kind, inputs=tuple(inputs)) for name, kind, *inputs in made),
    )


def test_a_key_by_is_cut_only_when_a_stateful_node_comes_before_the_next_key_by() -> None:
    """Behind `a` comes the key_by `b` first; behind `c` comes no state at all."""
    spec = topology(
        s="source", a="key_by s", f="filter a", b="key_by f", m="map b", w="window m", c="key_by w", out="sink c"
    )
    assert repartitioned(spec) == {"b"}
    assert [(part.entries, part.nodes) for part in cut(spec)] == [
        (("s",), ("a", "f", "b")),
        (("b",), ("m", "w", "c", "out")),
    ]


def test_every_branch_behind_a_cut_key_by_is_behind_the_topic() -> None:
    """Also the branch without state: rows travel once."""
    spec = topology(s="source", k="key_by s", w="echo k", plain="sink k")
    assert [(part.name, part.nodes) for part in cut(spec)] == [("s", ("k",)), ("k", ("w", "plain"))]


def test_parts_come_after_those_that_write_their_topics() -> None:
    """`late` is declared first, but reads what `k` writes."""
    spec = topology(
        late="source", s="source", k="key_by s", both="pass_through late k", w="window both", alone="sink late"
    )
    assert [part.name for part in cut(spec)] == ["s", "late+k"]


def test_a_part_may_not_wait_for_its_own_rows() -> None:
    """Through one key_by, or round through two parts; two sinks instead of a merge break the circle."""
    own = topology(s="source", k="key_by s", w="echo k", m="pass_through s w", out="sink m")
    assert feedback(own) == [["k"]]
    round_trip = topology(
        s="source", k="key_by s", w="echo k", j="key_by w", v="echo j", m="pass_through s v", out="sink m"
    )
    assert [sorted(links) for links in feedback(round_trip)] == [["j", "k"]]
    assert feedback(topology(s="source", k="key_by s", w="echo k", out="sink w", other="sink s")) == []


def test_diamonds_in_a_row_take_no_time() -> None:
    """66 diamonds have 2^66 paths; every node is looked at once."""
    nodes = {"n0": "source"}
    for number in range(0, 198, 3):
        before = f"n{number}"
        nodes |= {f"n{number + 1}": f"key_by {before}", f"n{number + 2}": f"map {before}"}
        nodes[f"n{number + 3}"] = f"pass_through n{number + 1} n{number + 2}"
    started = time.monotonic()
    assert len(cut(topology(**nodes))) == 1
    assert time.monotonic() - started < 2


@st.composite
def topologies(draw: st.DrawFn) -> TopologySpec:
    """Any acyclic graph of up to 14 nodes."""
    nodes: dict[str, str] = {}
    for number in range(draw(st.integers(1, 14))):
        inputs = draw(st.lists(st.sampled_from(sorted(nodes)), max_size=3, unique=True)) if nodes else []
        kind = draw(st.sampled_from(["filter", "key_by", "key_by", "window", "echo", "sink"])) if inputs else "source"
        nodes[f"n{number}"] = " ".join([kind, *inputs])
    return topology(**nodes)


def meets_state(spec: TopologySpec, name: str) -> bool:
    """The definition, by walking every path."""
    return any(
        child.kind in ("window", "echo") or (child.kind != "key_by" and meets_state(spec, child.name))
        for child in children_of(spec)[name]
    )


@settings(max_examples=200, deadline=None)
@given(topologies())
def test_parts_are_the_connected_pieces_of_the_cut_graph(spec: TopologySpec) -> None:
    """Every node is in one part, edges stay inside a part unless they are cut, and every part hangs together."""
    cuts = {node.name for node in spec.nodes if node.kind == "key_by" and meets_state(spec, node.name)}
    assert repartitioned(spec) == cuts
    parts = cut(spec)
    homes = {name: part for part in parts for name in part.nodes}
    readers = {name: part for part in parts for name in part.entries}
    sources = {node.name for node in spec.nodes if not node.inputs}
    assert sorted(name for part in parts for name in part.nodes) == sorted({n.name for n in spec.nodes} - sources)
    assert sorted(name for part in parts for name in part.entries) == sorted([*sources, *cuts])
    for node in spec.nodes:
        for parent in node.inputs:
            assert homes[node.name] is (readers if parent in cuts | sources else homes)[parent]
    for part in parts:
        assert connected(spec, set(part.entries), set(part.nodes))
    order = [node.name for node in ordered(spec)]
    assert all(list(part.nodes) == sorted(part.nodes, key=order.index) for part in parts)


def connected(spec: TopologySpec, entries: set[str], nodes: set[str]) -> bool:
    """Whether everything of a part is reached from one of its entries, along edges in either direction."""
    edges = [(p, n.name) for n in spec.nodes if n.name in nodes for p in n.inputs]
    # A key_by may be an entry and, as the writer of its topic, a node of the same part: two points of the graph.
    points = [(f"in {p}" if p in entries else p, name) for p, name in edges]
    seen = {f"in {min(entries)}"}
    while True:
        more = {b for a, b in points if a in seen} | {a for a, b in points if b in seen}
        if more <= seen:
            return seen >= nodes | {f"in {name}" for name in entries}
        seen |= more
