"""HTTP calls of a node: one pooled aiohttp session per node and worker. The only module that imports aiohttp.

    row ─► url, headers, body ─► host allowed? ─► pool ─► address allowed? ─► response, bounded ─► fields ─► row

aiohttp, because Faust has brought it along already, its parser is compiled, and its connector lets us make the socket:
the one place where the address that is connected to can be judged. Redirects are not followed, proxies and cookies of
the environment are not used. aiohttp sends a request of an idempotent method once more by itself when its connection
breaks; that is one attempt here.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from time import time
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote, urlsplit

import msgspec

from streamflow.calls.addresses import AddressGuard, host_allowed, is_refusal
from streamflow.calls.caller import Caller, Origin, Outside
from streamflow.calls.response import ResponseReader
from streamflow.calls.secrets import with_secrets
from streamflow.calls.template import Template
from streamflow.errors import CallFailed, ErrorClass
from streamflow.model.schema import Schema

if TYPE_CHECKING:
    import aiohttp

#: Answers that may be others later.
_TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
#: Of an answer that is an error, how much goes into the dead letter.
_SHOWN_BYTES = 200
#: Idempotency key of a row, the same in every attempt.
KEY_HEADER = "Idempotency-Key"
Read = TypeVar("Read")


@dataclass(frozen=True)
class HttpAction:
    """An HTTP request per row.

    body: JSON object with look-ups, None: none; whole_row: the row itself is the body. keep: input fields that stay,
    before those of `response`; not_found: whether 404 gives a row whose response fields are null.
    degraded: field that says whether a row is a fallback; kept: whether its result had been kept. pool: connections;
    times in ms.
    """

    method: str
    url: Template
    query: tuple[tuple[str, Template], ...]
    headers: tuple[tuple[str, Template], ...]
    body: Mapping[str, Any] | None
    whole_row: tuple[str, ...]
    keep: tuple[str, ...]
    response: Schema | None
    paths: tuple[tuple[str, tuple[str, ...]], ...]
    output: Schema
    degraded: str | None = None
    kept: str | None = None
    not_found: bool = False
    max_bytes: int = 1 << 20
    pool: int = 20
    connect_timeout_ms: int = 5_000

    def make(self, node: str, outside: Outside) -> Caller:
        """A caller, not open yet."""
        return HttpCaller(self, node, outside)


class HttpCaller:
    """Sends requests. See `caller.Caller`."""

    def __init__(self, action: HttpAction, node: str, outside: Outside) -> None:
        self._action, self._node, self._outside = action, node, outside
        self._row_type = action.output.row_type
        # Fields of the response; none of an answer that is not read, nor of one that is not there.
        self.result_type = dict[str, Any] if action.response is None else action.response.row_type | None
        self._reader = ResponseReader(action.response, dict(action.paths)) if action.response is not None else None
        self._session: aiohttp.ClientSession | None = None
        self._headers: list[tuple[str, Template]] = []
        self._encode = msgspec.json.Encoder().encode

    async def open(self) -> None:
        """Make the pool. Raises TopologyError for a secret that is not there."""
        action = self._action
        place = f"nodes.{self._node}.headers"
        self._headers = [
            (name, Template(tuple(self._filled(part, f"{place}.{name}") for part in text.parts)))
            for name, text in action.headers
        ]
        first = action.url.parts[0]
        plain = isinstance(first, str) and first.startswith("http://")
        self._session = open_session(
            self._outside, only_listed=plain, pool=action.pool, connect_timeout_ms=action.connect_timeout_ms
        )

    def _filled(self, part: Any, place: str) -> Any:
        return with_secrets(part, self._outside, place) if isinstance(part, str) else part

    async def close(self) -> None:
        """Close every connection."""
        if self._session is not None:
            session, self._session = self._session, None
            await session.close()

    def target(self, row: Any) -> str:
        """Scheme, host and port."""
        parts = urlsplit(self._url(row))
        if not parts.hostname or not host_allowed(parts.hostname, self._outside.hosts):
            message = f"{parts.hostname!r} is no host that this worker lets nodes call (STREAMFLOW_OUTBOUND_HOSTS)"
            raise CallFailed("host", message, ErrorClass.USER)
        return f"{parts.scheme}://{parts.netloc}"

    def digest(self, row: Any) -> bytes:
        """Everything that goes into the request."""
        headers = [(name, text.text(row)) for name, text in self._action.headers]
        return self._encode([self._url(row), headers, (self._body(row) or b"").decode()])

    def fallback(self, row: Any, values: Mapping[str, Any]) -> Any:
        """The kept fields, and the values in place of the response's."""
        return self._row(row, {**dict.fromkeys(self._response_names), **values}, degraded=True)

    async def call(self, row: Any, origin: Origin) -> Any:
        """One request, and the fields of its response. Raises CallFailed."""
        assert self._session is not None
        action = self._action
        headers = {name: _one_line(text.text(row), name) for name, text in self._headers}
        body = self._body(row)
        if body is not None:
            headers.setdefault("Content-Type", "application/json")
        if action.method != "GET":
            headers.setdefault(KEY_HEADER, origin.key)
        return await exchange(self._session, action.method, self._url(row), headers, body, self._read)

    async def _read(self, response: "aiohttp.ClientResponse") -> Any:
        if response.status == 404 and self._action.not_found:
            return None
        body = await taken(response, self._action.max_bytes)
        return {} if self._reader is None else self._reader.read(body)

    def rows(self, row: Any, result: Any) -> Sequence[Any]:
        """The kept fields, those of the response behind them; null for what is not there."""
        return [self._row(row, {name: getattr(result, name, None) for name in self._response_names})]

    @property
    def _response_names(self) -> tuple[str, ...]:
        return self._action.response.names if self._action.response is not None else ()

    def _row(self, row: Any, values: Mapping[str, Any], *, degraded: bool = False) -> Any:
        kept = {name: getattr(row, name) for name in self._action.keep}
        marks = {} if self._action.degraded is None else {self._action.degraded: degraded}
        if self._action.kept is not None:
            marks[self._action.kept] = False  # else the row is marked where the result was found
        return self._row_type(**kept, **values, **marks)

    def _url(self, row: Any) -> str:
        action = self._action
        url = action.url.text(row, _segment)
        if not action.query:
            return url
        pairs = "&".join(f"{quote(name, safe='')}={text.text(row, _quoted)}" for name, text in action.query)
        return f"{url}{'&' if '?' in url else '?'}{pairs}"

    def _body(self, row: Any) -> bytes | None:
        action = self._action
        if action.body is not None:
            return self._encode(_filled_in(action.body, row))
        if action.whole_row:
            return self._encode({name: getattr(row, name) for name in action.whole_row})
        return None


def open_session(outside: Outside, *, only_listed: bool, pool: int, connect_timeout_ms: int) -> "aiohttp.ClientSession":
    """A pool of connections to what the worker lets nodes reach. only_listed: as AddressGuard has it."""
    import aiohttp

    guard = AddressGuard(outside.networks, only_listed=only_listed)
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=pool, ttl_dns_cache=10, socket_factory=guard.make_socket),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=connect_timeout_ms / 1_000),
        trust_env=False,
        auto_decompress=True,
    )


async def exchange(
    session: "aiohttp.ClientSession",
    method: str,
    url: str,
    headers: Mapping[str, str],
    body: bytes | None,
    read: Callable[["aiohttp.ClientResponse"], Awaitable[Read]],
) -> Read:
    """One request, and what `read` makes of its response. Raises CallFailed; aiohttp's errors are translated here."""
    import aiohttp
    from yarl import URL

    try:
        async with session.request(
            method, URL(url, encoded=True), headers=headers, data=body, allow_redirects=False
        ) as response:
            return await read(response)
    except aiohttp.ClientConnectorCertificateError as error:  # of the next one too
        raise CallFailed("certificate", str(error), ErrorClass.PERMANENT) from error
    except aiohttp.ClientConnectorError as error:
        if is_refusal(error.os_error):
            raise CallFailed("address", str(error.os_error), ErrorClass.PERMANENT) from error
        raise
    except aiohttp.InvalidURL as error:
        raise CallFailed("url", f"{error} is no URL", ErrorClass.USER) from error
    except aiohttp.ClientError as error:  # reset, cut off, not HTTP
        raise CallFailed("unreachable", f"{type(error).__name__}: {error}", ErrorClass.TRANSIENT) from error


async def taken(response: "aiohttp.ClientResponse", max_bytes: int = 1 << 16) -> bytes:
    """Body of an answer that is a success. Raises CallFailed for any other."""
    if not 200 <= response.status < 300:
        raise await _refusal(response)
    return await _bounded(response, max_bytes)


def _quoted(text: str) -> str:
    return quote(text, safe="")


def _segment(text: str) -> str:
    """A value within a path: nothing in it is a border of the URL, and it does not lead upwards."""
    if text in ("", ".", ".."):
        raise CallFailed("url", f"{text!r} cannot be part of a URL's path", ErrorClass.USER)
    return quote(text, safe="")


def _one_line(text: str, name: str) -> str:
    if not text.isprintable():
        raise CallFailed("header", f"the value of header {name} has control characters", ErrorClass.USER)
    return text


def _filled_in(value: Any, row: Any) -> Any:
    """A body with its templates filled in; a look-up that stands alone keeps its type."""
    if isinstance(value, Template):
        return value.text(row) if value.only is None else value.only.value(row)
    if isinstance(value, dict):
        return {name: _filled_in(each, row) for name, each in value.items()}
    return [_filled_in(each, row) for each in value] if isinstance(value, list) else value


async def _bounded(response: "aiohttp.ClientResponse", max_bytes: int) -> bytes:
    """The body, unpacked. Raises CallFailed when it is larger than allowed; the rest is not read."""
    parts, size = [], 0
    async for part in response.content.iter_any():
        size += len(part)
        if size > max_bytes:
            raise CallFailed("response", f"the response has more than {max_bytes} bytes", ErrorClass.PERMANENT)
        parts.append(part)
    return b"".join(parts)


async def _refusal(response: "aiohttp.ClientResponse") -> CallFailed:
    status = response.status
    if 300 <= status < 400:
        said = f"{status}, a redirect to {response.headers.get('Location', 'nowhere')}; redirects are not followed"
    else:
        shown = (await response.content.read(_SHOWN_BYTES)).decode(errors="replace")
        said = f"{status} {response.reason or ''}: {shown}"
    error_class = ErrorClass.TRANSIENT if status in _TRANSIENT else ErrorClass.PERMANENT
    retry_after_s = _seconds(response.headers.get("Retry-After")) if status in (429, 503) else None
    failed = CallFailed("status", said, error_class, retry_after_s)
    failed.details = (("sf-status", b"%d" % status),)
    return failed


def _seconds(header: str | None) -> float | None:
    """Seconds that a Retry-After asks for, as a number or a date; None when it says nothing of use."""
    if header is None:
        return None
    if header.strip().isdigit():
        return float(header)
    try:
        return max(0.0, parsedate_to_datetime(header).timestamp() - time())
    except ValueError:
        return None
