"""An open HTTP caller over the server, and rows for it."""

from ipaddress import ip_network
from typing import Any

from streamflow.calls.caller import Origin, Outside
from streamflow.errors import Problem
from streamflow.model.expression import field_expression
from streamflow.model.schema import Schema, parse_fields
from streamflow.nodes.kind import Flow, Lowering
from streamflow.nodes.operators import Await
from streamflow.nodes.registry import KINDS

SCHEMA = Schema("Row", parse_fields({"path": "str", "number": "int", "customer": "json?"})[0])
LOCAL = Outside(hosts=("127.*", "localhost"), networks=(ip_network("127.0.0.0/8"), ip_network("::1/128")))
RESPONSE = {"double": "int", "place": "str"}
PATHS = {"place": "at.place"}


def lower(kind: str, **config: Any) -> tuple[Await | None, list[Problem]]:
    """What a configuration becomes over SCHEMA, and what is wrong with it."""
    made = KINDS[kind]
    lowering = Lowering("node", Flow(SCHEMA, field_expression(SCHEMA, "path"), "path"))
    lowered = made.lower(made.config_type.model_validate(config), lowering)
    if lowered is None:
        return None, lowering.problems
    assert isinstance(lowered.operator, Await)
    return lowered.operator, lowering.problems


def request(url: str, **config: Any) -> Await:
    """An http_request over SCHEMA."""
    made, problems = lower("http_request", **{"url": url, "response": RESPONSE, "paths": PATHS, **config})
    assert made is not None, problems
    return made


def row(number: int = 1, path: str = "ok", customer: Any = None) -> Any:
    return SCHEMA.row_type(path=path, number=number, customer=customer)


def origin(offset: int = 0) -> Origin:
    return Origin("t", "t.node.queue", 0, offset, 1_000, 2_000)
