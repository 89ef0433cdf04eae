"""Options of nodes that call over HTTP, and what they lower to."""

from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import BeforeValidator
from pydantic import Field as Option

from streamflow.calls.http import HttpAction
from streamflow.calls.secrets import refers_to_secret
from streamflow.calls.template import Template, compile_template
from streamflow.model.schema import Field, FieldType, Schema, parse_fields
from streamflow.nodes.kind import DurationMs, FieldName, Flow, Lowered, Lowering
from streamflow.nodes.operators import Await
from streamflow.nodes.resilience import AsyncConfig, is_ordered, mark_of, policy_of

#: Headers whose values are secrets.
_SECRET_HEADERS = frozenset({"authorization", "proxy-authorization", "cookie", "x-api-key", "api-key", "x-auth-token"})
#: Headers that are the client's own business.
_OWN_HEADERS = frozenset({"host", "content-length", "transfer-encoding", "connection"})
_PORT = 65_535


def _as_text(value: Any) -> Any:
    return value if isinstance(value, str) or value is None else str(value)


Text = Annotated[str, BeforeValidator(_as_text)]


class HttpConfig(AsyncConfig):
    """What every HTTP call has. Texts may have look-ups into the row, `{customer.id}`; `{name|none}` has a default."""

    url: str = Option(description="URL; look-ups in its path are quoted, its scheme and host are the same for all rows")
    query: dict[str, Text] = Option(default_factory=dict, description="parameters of the URL, quoted")
    headers: dict[str, Text] = Option(
        default_factory=dict, description="headers; secrets by reference, `Bearer ${secret:name}`"
    )
    max_bytes: int = Option(1 << 20, ge=0, le=64 << 20, description="largest response body, unpacked")
    connections: int = Option(20, ge=1, le=10_000, description="connections of one worker to the target, kept open")
    connect_timeout: DurationMs = Option(5_000, ge=1, le=300_000, description="time to connect")


class ResponseConfig(HttpConfig):
    """What calls have whose response is read."""

    response: dict[FieldName, str] = Option(
        min_length=1, description="fields of the JSON response with their types, such as `float?`"
    )
    paths: dict[FieldName, str] = Option(
        default_factory=dict, description="where a field is in the response, such as `main.temp` or `items.0.id`"
    )
    keep: list[str] | None = Option(None, description="input fields that stay; all when left out")
    degraded: FieldName | None = Option(None, description="bool field that says whether a row is a fallback")


def template(source: str, key: str, lowering: Lowering) -> Template:
    """A text with look-ups; what is wrong is a problem."""
    try:
        return compile_template(source, lowering.input.schema)
    except ValueError as error:
        lowering.problem(str(error), key=key)
        return Template(())


def url_template(config: HttpConfig, lowering: Lowering) -> Template:
    """The URL; its scheme, host and port must be literal."""
    before = len(lowering.problems)
    found = template(config.url, "url", lowering)
    if len(lowering.problems) > before:
        return found
    first = found.parts[0] if found.parts and isinstance(found.parts[0], str) else ""
    authority, slash, _ = first.partition("://")[2].partition("/")
    if not first.startswith(("https://", "http://")):
        lowering.problem(f"{config.url!r} is no URL", "begin it with https://", "url")
        return found
    try:
        parts = urlsplit(first)
        valid = bool(parts.hostname) and 0 < (parts.port or 1) <= _PORT
    except ValueError:
        valid = False
    if not valid or (not slash and not found.is_literal):
        lowering.problem("scheme, host and port must stand in the text", "put look-ups behind the first /", "url")
    elif "@" in authority:
        lowering.problem("a password in a URL would be seen", "use a header with ${secret:name}", "url")
    elif any(mark in part for part in found.parts if isinstance(part, str) for mark in "?#"):
        lowering.problem("parameters do not belong into the URL", "use `query`", "url")
    return found


def pairs(values: Mapping[str, str], key: str, lowering: Lowering) -> tuple[tuple[str, Template], ...]:
    """Names with their templates."""
    return tuple((name, template(text, f"{key}.{name}", lowering)) for name, text in values.items())


def header_templates(config: HttpConfig, lowering: Lowering) -> tuple[tuple[str, Template], ...]:
    """Headers; a secret that stands in the topology is a problem."""
    found = []
    for name, text in config.headers.items():
        key = f"headers.{name}"
        if not name.isascii() or not name.replace("-", "").replace("_", "").isalnum():
            lowering.problem(f"{name!r} is no header", "letters, digits and dashes", key)
        elif name.lower() in _OWN_HEADERS:
            lowering.problem(f"header {name} is set by the client", "leave it out", key)
        elif name.lower() in _SECRET_HEADERS and not refers_to_secret(text):
            lowering.problem(f"{name} is a secret, and topologies are seen by many", "write ${secret:name}", key)
        # `${secret:name}` is no look-up: its braces are literal.
        found.append((name, template(_escaped(text), key, lowering)))
    return tuple(found)


def _escaped(text: str) -> str:
    parts = text.split("${secret:")
    return parts[0] + "".join("${{secret:" + part.replace("}", "}}", 1) for part in parts[1:])


def body_templates(value: Any, key: str, lowering: Lowering) -> Any:
    """A JSON value with its texts as templates."""
    if isinstance(value, str):
        return template(value, key, lowering)
    if isinstance(value, dict):
        return {name: body_templates(each, f"{key}.{name}", lowering) for name, each in value.items()}
    if isinstance(value, list):
        return [body_templates(each, f"{key}.{number}", lowering) for number, each in enumerate(value)]
    return value


def response_schema(config: ResponseConfig, lowering: Lowering, *, nullable: bool = False) -> Schema:
    """Fields of the response; all may be null when `nullable`."""
    fields, problems = parse_fields(config.response)
    for name, message in problems:
        lowering.problem(message, key=f"response.{name}")
    for name in config.paths:
        if name not in config.response:
            lowering.problem(f"{name!r} is no field of the response", "declare it in `response`", f"paths.{name}")
    found = tuple(Field(each.name, each.type, each.nullable or nullable, each.choices) for each in fields)
    return Schema(f"{_title(lowering)}Response", found)


def output_schema(config: ResponseConfig, response: Schema, lowering: Lowering) -> tuple[tuple[str, ...], Schema]:
    """(input fields that stay, fields of the rows)."""
    before = lowering.input.schema
    keep = before.names if config.keep is None else tuple(config.keep)
    for name in keep:
        lowering.has_field(name, "keep")
    kept = tuple(field for field in before.fields if field.name in keep)
    named = (config.degraded, mark_of(config.resilience))
    marks = tuple(Field(name, FieldType.BOOL) for name in named if name is not None)
    fields = (*kept, *response.fields, *marks)
    names = [field.name for field in fields]
    for name in dict.fromkeys(name for name in names if names.count(name) > 1):
        lowering.problem(f"the row would have {name!r} twice", "leave it out of keep, or rename it by `paths`", "keep")
    return tuple(field.name for field in kept), Schema(f"{_title(lowering)}Row", fields)


def split_paths(config: ResponseConfig) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Per field the members that lead to it."""
    return tuple((name, tuple(path.split("."))) for name, path in config.paths.items())


def lowered_call(
    config: ResponseConfig,
    lowering: Lowering,
    response: Schema,
    shown: Schema,
    *,
    method: str,
    body: Mapping[str, Any] | None = None,
    not_found: bool = False,
) -> Lowered | None:
    """A call whose response is read; None when something is wrong. shown: `response` as rows have it.

    not_found: whether 404 gives a row.
    """
    keep, output = output_schema(config, shown, lowering)
    if body is not None and method in ("GET", "DELETE"):
        lowering.problem(f"{method} has no body", "use `query`, or method POST", "body")
    action = HttpAction(
        method=method,
        url=url_template(config, lowering),
        query=pairs(config.query, "query", lowering),
        headers=header_templates(config, lowering),
        body=None if body is None else body_templates(body, "body", lowering),
        whole_row=(),
        keep=keep,
        response=response,
        paths=split_paths(config),
        output=output,
        degraded=config.degraded,
        kept=mark_of(config.resilience),
        not_found=not_found,
        max_bytes=config.max_bytes,
        pool=config.connections,
        connect_timeout_ms=config.connect_timeout,
    )
    policy, before = policy_of(config.resilience, shown, lowering), lowering.input
    ordered = is_ordered(config, lowering)
    if lowering.failed:
        return None
    flow = Flow(output, before.key, before.key_name, before.repeats)
    return Lowered(Await(action, policy, config.concurrency, ordered=ordered), flow)


def _title(lowering: Lowering) -> str:
    return lowering.name.title().replace("_", "")
