"""Query parameters that no route reads: a filter that is misspelt must not give everything."""

from collections.abc import Iterator

from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from starlette.requests import HTTPConnection

from streamflow.model.names import near_name
from streamflow.web.guard import PUBLIC_PATHS
from streamflow.web.problems import Refusal


async def refuse_unknown_parameters(connection: HTTPConnection) -> None:
    """Dependency of every route. Raises Refusal (422). Public paths take any: who probes or scrapes adds its own."""
    route = connection.scope["route"]
    if not connection.scope["query_string"] or not isinstance(route, APIRoute) or route.path in PUBLIC_PATHS:
        return
    names = list(dict.fromkeys(_read_by(route.dependant)))
    unknown = [each for each in dict.fromkeys(connection.query_params) if each not in names]
    if unknown:
        faults = [f"{each}: no such parameter; {near_name(each, names, 'there are')}" for each in unknown[:10]]
        raise Refusal(422, "bad_parameter", "; ".join(faults))


def _read_by(dependant: Dependant) -> Iterator[str]:
    yield from (each.alias for each in dependant.query_params)
    for each in dependant.dependencies:
        yield from _read_by(each)
