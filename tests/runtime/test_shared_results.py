"""Results that workers tell one another, short of Kafka; with it in tests/system/test_async.py."""

from hashlib import sha256
from pathlib import Path

import pytest

from streamflow.calls.policy import CachePlan
from streamflow.errors import TopologyError
from streamflow.plan.plan import Plan, TopicRole
from streamflow.plan.planner import make_plan
from streamflow.runtime.result_folders import ResultFolders
from streamflow.runtime.shared_results import QUEUE_MAX_BYTES, RESULT_MAX_BYTES, SharedResults, SharedTier
from streamflow.settings.settings import Settings
from streamflow.topology.yaml_file import parse_topology

_CACHE = CachePlan(10, 1 << 20, 60_000, disk_bytes=64 << 20, identity=b"i" * 16, shared=True)


def _plan(*caches: str) -> Plan:
    calls = [
        f"  n{n}: {{kind: http_request, input: s, url: 'https://e.x/1', response: {{a: int}}, resilience: {{cache: {each}}}}}\n"
        f"  o{n}: {{kind: sink, input: n{n}, topic: out}}"
        for n, each in enumerate(caches)
    ]
    head = "topology: t\nschemas: {Event: {id: int}}\nnodes:\n  s: {kind: source, topic: in, schema: Event}"
    return make_plan(parse_topology("\n".join([head, *calls])))


def test_the_topic_keeps_as_long_and_as_much_as_the_nodes_that_share() -> None:
    assert TopicRole.KEPT_RESULTS not in {each.role for each in _plan("{disk_bytes: 1000}").topics}
    plan = _plan("{disk_bytes: 1000}", "{disk_bytes: 80000000, shared: true}", "{disk_bytes: 5, ttl: 1d, shared: true}")
    (topic,) = (each for each in plan.topics if each.role is TopicRole.KEPT_RESULTS)
    assert (topic.name, topic.partitions, topic.owned) == ("t.kept_results", 1, True)
    config = dict(topic.config)
    assert (config["retention.ms"], config["retention.bytes"]) == ("86400000", "80000005")
    assert int(config["segment.bytes"]) <= 80_000_005 // 8
    with pytest.raises(TopologyError, match="add disk_bytes"):
        _plan("{shared: true}")


def test_what_is_heard_is_found_and_never_replaces_what_is_younger(tmp_path: Path) -> None:
    tiers = []
    for worker in ("a", "b"):
        made = ResultFolders(tmp_path / worker, SharedResults(_plan("{}"), Settings()).share)("node", _CACHE)
        assert isinstance(made, SharedTier)
        tiers.append(made)
    one, other = tiers
    one.put(b"question", 2_000, b"answer")
    assert (one.told, other.get(b"question")) == (1, None)
    digest = sha256(b"question").digest()
    for kept_ms, value in ((1_000, b"old"), (2_000, b"answer"), (2_000, b"answer"), (1_500, b"older")):
        other.hear(digest, kept_ms, value)
    assert (other.get(b"question"), other.heard) == ((2_000, b"answer"), 2)
    one.put(b"large", 1, b"x" * (RESULT_MAX_BYTES + 1))
    assert (one.told, one.get(b"large") is not None) == (1, True), "too large for the others, not for itself"
    for number in range(40):
        one.put(b"%d" % number, 1, b"x" * (RESULT_MAX_BYTES - 8))
    assert one.told == QUEUE_MAX_BYTES // RESULT_MAX_BYTES, "what waits is bounded"
    results = SharedResults(_plan("{}"), Settings())
    told = sum(results.tell(b"k" * 48, b"v") for _ in range(QUEUE_MAX_BYTES // 100))
    assert 0 < told < QUEUE_MAX_BYTES // 200, "many small ones too"
    for each in tiers:
        each.close()
