"""The profiler charges who works, by node, and nobody who waits."""

import threading
from xml.etree import ElementTree

from streamflow.cli.flame_graph import flame_graph
from streamflow.cli.profile import stacks_of
from streamflow.engine.source_code import SourceCode
from streamflow.runtime.profiler import Profiler, shown


def _module() -> tuple[SourceCode, dict[str, object]]:
    """A module whose node `heavy` works nine times as long as `light`."""
    source = SourceCode("<streamflow stage busy>")
    with source.block("def work(over):"), source.block("while not over.is_set():"):
        with source.owned_by("heavy"), source.block("for _ in range(180_000):"):
            source.line("pass")
        with source.owned_by("light"), source.block("for _ in range(20_000):"):
            source.line("pass")
    names: dict[str, object] = {}
    exec(compile(source.text, source.filename, "exec"), names)
    return source, names


def test_who_works_is_charged_by_node_and_who_waits_is_not() -> None:
    source, names = _module()
    over = threading.Event()
    worker = threading.Thread(target=names["work"], args=(over,), name="worker")  # type: ignore[arg-type]
    sleeper = threading.Thread(target=over.wait, name="sleeper")
    worker.start()
    sleeper.start()
    try:
        profile = Profiler({"busy": source}).watch(2.0)
    finally:
        over.set()
        worker.join()
        sleeper.join()
    heavy, light = profile.nodes["busy", "heavy"], profile.nodes["busy", "light"]
    assert heavy > 2 * light
    assert heavy + light > 0.8 * profile.threads["worker"]
    assert profile.threads.get("sleeper", 0) < 0.05 * profile.threads["worker"]
    assert sum(profile.stacks.values()) == sum(profile.threads.values())


def test_what_is_shown_is_the_profile_and_its_graph_has_a_box_for_each_frame() -> None:
    source, names = _module()
    over = threading.Event()
    worker = threading.Thread(target=names["work"], args=(over,), name="a <b>")  # type: ignore[arg-type]
    worker.start()
    try:
        found = shown(Profiler({"busy": source}).watch(1.0))
    finally:
        over.set()
        worker.join()
    stacks = stacks_of(found)
    assert any(frames[0] == "thread a <b>" and frames[-1] == "node heavy in stage busy" for frames, _us in stacks)
    root = ElementTree.fromstring(flame_graph(stacks, "here & now"))
    boxes = {title.text.split(":")[0]: float(box.get("width", 0)) for title, box in _boxes(root)}  # type: ignore[union-attr]
    assert boxes["all"] == 1_200
    assert boxes["thread a <b>"] <= 1_200
    assert boxes["node heavy in stage busy"] > boxes["node light in stage busy"]


def _boxes(root: ElementTree.Element) -> list[tuple[ElementTree.Element, ElementTree.Element]]:
    return [(group[0], group[1]) for group in root if group.tag.endswith("}g")]
