"""Routes as they are declared, before there is an application to have them.

FastAPI works out what a route needs when it is declared on a router, and once more when the router is included: 0.1 s
of every worker's start. Here it is done once, when the application takes them.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

from fastapi import FastAPI
from fastapi.params import Depends

_F = TypeVar("_F", bound=Callable[..., Any])


class Routes:
    """Routes of one subject. `tags`, `dependencies`: of each of them; other options are those of FastAPI's routes."""

    def __init__(self, tags: Sequence[str] = (), dependencies: Sequence[Depends] = ()) -> None:
        self._tags, self._dependencies = list(tags), list(dependencies)
        self._declared: list[Callable[[FastAPI], None]] = []

    def get(self, path: str, **options: Any) -> Callable[[_F], _F]:
        """Declare a GET."""
        return self._route("GET", path, options)

    def post(self, path: str, **options: Any) -> Callable[[_F], _F]:
        """Declare a POST."""
        return self._route("POST", path, options)

    def put(self, path: str, **options: Any) -> Callable[[_F], _F]:
        """Declare a PUT."""
        return self._route("PUT", path, options)

    def delete(self, path: str, **options: Any) -> Callable[[_F], _F]:
        """Declare a DELETE."""
        return self._route("DELETE", path, options)

    def websocket(self, path: str, name: str) -> Callable[[_F], _F]:
        """Declare a WebSocket."""

        def declare(endpoint: _F) -> _F:
            add = partial(FastAPI.add_api_websocket_route, path=path, endpoint=endpoint, name=name)
            self._declared.append(partial(add, dependencies=self._dependencies))
            return endpoint

        return declare

    def _route(self, method: str, path: str, options: dict[str, Any]) -> Callable[[_F], _F]:
        options["tags"] = [*self._tags, *options.get("tags", ())]
        options["dependencies"] = [*self._dependencies, *options.get("dependencies", ())]

        def declare(endpoint: _F) -> _F:
            self._declared.append(
                partial(FastAPI.add_api_route, path=path, endpoint=endpoint, methods=[method], **options)
            )
            return endpoint

        return declare

    def add_to(self, app: FastAPI) -> None:
        """Give them to an application, in the order in which they were declared."""
        for add in self._declared:
            add(app)
