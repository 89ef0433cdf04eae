"""The options of nodes that name a topic are all known to the checks."""

from typing import get_args

from streamflow.nodes.kind import TopicName
from streamflow.nodes.registry import KINDS
from streamflow.topology.resolve import TOPIC_OPTIONS


def test_every_option_that_names_a_topic_is_checked() -> None:
    found = set()
    for kind in KINDS.values():
        for name, annotation in kind.config_type.__annotations__.items():
            if annotation == TopicName or TopicName in get_args(annotation):
                found.add(name)
    assert found == set(TOPIC_OPTIONS)
