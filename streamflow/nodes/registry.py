"""The kinds that a topology may use, by name: the built-in ones, and plug-ins of installed packages.

    [project.entry-points."streamflow.nodes"]
    double = "my_package.double:Double"            the name is the kind's

A plug-in is imported when somebody asks for a kind that is not built in. One that is broken is told (`broken`), and
costs the others nothing.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from importlib.metadata import EntryPoint, entry_points
from inspect import isabstract
from typing import Any

from streamflow.errors import InternalError
from streamflow.nodes.accept import Accept
from streamflow.nodes.alert import Alert
from streamflow.nodes.anomaly import Anomaly
from streamflow.nodes.approval import Approval
from streamflow.nodes.branch import Branch
from streamflow.nodes.cast import Cast
from streamflow.nodes.combine import Combine
from streamflow.nodes.deduplicate import Deduplicate
from streamflow.nodes.delay import Delay
from streamflow.nodes.dependent import dependents_problem
from streamflow.nodes.echo import Echo
from streamflow.nodes.enrich import Enrich
from streamflow.nodes.fetch_payload import FetchPayload
from streamflow.nodes.file_sink import FileSink
from streamflow.nodes.filter import Filter
from streamflow.nodes.flat_map import FlatMap
from streamflow.nodes.foreign_join import ForeignJoin
from streamflow.nodes.global_table import GlobalTable
from streamflow.nodes.http_request import HttpRequest
from streamflow.nodes.join import Join
from streamflow.nodes.key_by import KeyBy
from streamflow.nodes.kind import Category, Mode, NodeConfig, NodeKind
from streamflow.nodes.lookup import Lookup
from streamflow.nodes.map import Map
from streamflow.nodes.mask import Mask
from streamflow.nodes.model import Model
from streamflow.nodes.multiply import Multiply
from streamflow.nodes.normalize import Normalize
from streamflow.nodes.normalize_running import NormalizeRunning
from streamflow.nodes.normalize_window import NormalizeWindow
from streamflow.nodes.pass_through import PassThrough
from streamflow.nodes.process import Process
from streamflow.nodes.python import Python
from streamflow.nodes.rate_limit import RateLimit
from streamflow.nodes.sample import Sample
from streamflow.nodes.sink import Sink
from streamflow.nodes.source import Source
from streamflow.nodes.sql_sink import SqlSink
from streamflow.nodes.store_payload import StorePayload
from streamflow.nodes.table import Table
from streamflow.nodes.table_join import TableJoin
from streamflow.nodes.tables_join import TablesJoin
from streamflow.nodes.threshold import Threshold
from streamflow.nodes.wasm import Wasm
from streamflow.nodes.webhook import Webhook
from streamflow.nodes.window import Window

_BUILT_IN: tuple[type[NodeKind], ...] = (
    Source,
    Sink,
    Filter,
    Map,
    KeyBy,
    Window,
    Process,
    Python,
    Wasm,
    Deduplicate,
    RateLimit,
    Join,
    Table,
    TableJoin,
    TablesJoin,
    ForeignJoin,
    Combine,
    PassThrough,
    Echo,
    Multiply,
    Threshold,
    GlobalTable,
    Lookup,
    Branch,
    FlatMap,
    Mask,
    Cast,
    Sample,
    Normalize,
    NormalizeRunning,
    NormalizeWindow,
    Anomaly,
    Accept,
    Alert,
    Approval,
    HttpRequest,
    Enrich,
    Webhook,
    Delay,
    StorePayload,
    FetchPayload,
    Model,
    FileSink,
    SqlSink,
)


GROUP = "streamflow.nodes"
_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
#: A word that front ends know, a relative path, or an address.
_ICON = re.compile(r"https?://\S+|[A-Za-z0-9_][\w-]*(?:[./][\w-]+)*")
_VERSION = re.compile(r"[1-9]\d*\.\d+\.\d+")


def checked(kind: Any) -> NodeKind:
    """The kind, ready to use. Raises InternalError that says what its class lacks."""
    if not (isinstance(kind, type) and issubclass(kind, NodeKind)):
        raise InternalError(f"{kind!r} is no node kind: derive a class from streamflow.nodes.kind.NodeKind")
    needed = ("kind", "display_name", "description", "category", "config_type", "example")
    missing = [name for name in needed if not hasattr(kind, name)]
    if missing or isabstract(kind):
        raise InternalError(f"node kind {kind.__name__} lacks {', '.join(missing) or 'lower'}")
    if not _NAME.fullmatch(kind.kind):
        raise InternalError(f"{kind.kind!r} cannot be the name of a kind: a small letter, then letters, digits and _")
    if kind.category not in set(Category):
        raise InternalError(f"node kind {kind.kind!r} has category {kind.category!r}; use one of {', '.join(Category)}")
    if not _VERSION.fullmatch(kind.version):
        raise InternalError(f"node kind {kind.kind!r} has version {kind.version!r}; write one such as 1.0.0")
    if not _ICON.fullmatch(kind.icon):
        raise InternalError(
            f"node kind {kind.kind!r} has icon {kind.icon!r}; use a word, a relative path or http(s)://"
        )
    if not set(kind.modes) <= set(Mode):
        raise InternalError(f"node kind {kind.kind!r} has modes {kind.modes!r}; use some of {', '.join(Mode)}")
    if not issubclass(kind.config_type, NodeConfig):
        raise InternalError(f"the configuration of node kind {kind.kind!r} must derive from NodeConfig")
    if kind.dependents:
        options = [info.alias or name for name, info in kind.config_type.model_fields.items()]
        problem = dependents_problem(kind.dependents, options)
        if problem is not None:
            raise InternalError(f"node kind {kind.kind!r}: {problem}")
    return kind()


def by_name(kinds: Iterable[type[NodeKind]]) -> dict[str, NodeKind]:
    """Kinds by name. Raises InternalError for a name taken twice, or a kind that is not complete."""
    found: dict[str, NodeKind] = {}
    for kind in kinds:
        made = checked(kind)
        if kind.kind in found:
            taken = type(found[kind.kind]).__name__
            raise InternalError(f"node kind {kind.kind!r} is registered by {taken} already; rename {kind.__name__}'s")
        found[kind.kind] = made
    return found


class Kinds(Mapping[str, NodeKind]):
    """Kinds by name. Plug-ins are loaded once, when they are asked for; `broken` says why one is not there."""

    def __init__(self, built_in: Mapping[str, NodeKind]) -> None:
        self._found = dict(built_in)
        self._built_in = frozenset(built_in)
        self._broken: dict[str, str] = {}
        self._is_loaded = False

    def __getitem__(self, name: str) -> NodeKind:
        if name not in self._found:
            self._load()
        return self._found[name]

    def __iter__(self) -> Iterator[str]:
        self._load()
        return iter(self._found)

    def __len__(self) -> int:
        self._load()
        return len(self._found)

    @property
    def broken(self) -> Mapping[str, str]:
        """Plug-ins that cannot be used, by entry point: what is wrong with each."""
        self._load()
        return self._broken

    def is_built_in(self, name: str) -> bool:
        """Whether a kind comes with streamflow."""
        return name in self._built_in

    @contextmanager
    def lent(self, kind: type[NodeKind]) -> Iterator[None]:
        """Register a kind for a while, so that its tests need no installed package.

        Raises InternalError when another class has its name.
        """
        made, before = checked(kind), self.get(kind.kind)
        if before is not None and type(before) is not kind:
            by_name([type(before), kind])
        self._found[kind.kind] = made
        try:
            yield
        finally:
            if before is None:
                del self._found[kind.kind]

    def _load(self) -> None:
        if self._is_loaded:
            return
        self._is_loaded = True
        named: dict[str, list[EntryPoint]] = {}
        for point in sorted(entry_points(group=GROUP), key=lambda each: (each.name, each.value)):
            if point not in named.setdefault(point.name, []):
                named[point.name].append(point)
        for name, points in named.items():
            if name in self._built_in:
                self._broken[name] = f"{points[0].value} takes the name of a built-in kind; rename it"
            elif len(points) > 1:
                values = " and ".join(point.value for point in points)
                self._broken[name] = f"{values} have one name; uninstall or rename one"
            else:
                self._add(points[0])

    def _add(self, point: EntryPoint) -> None:
        try:
            made = checked(point.load())
            if made.kind != point.name:
                raise InternalError(
                    f"the entry point is {point.name!r}, but the kind is {made.kind!r}; name them alike"
                )
        except Exception as error:  # whatever a foreign module raises must not end the others
            self._broken[point.name] = f"{point.value} cannot be used: {type(error).__name__}: {error}"
        else:
            self._found[made.kind] = made


#: Every kind by its name.
KINDS = Kinds(by_name(_BUILT_IN))


def near_kinds(name: str) -> str:
    """A hint for an unknown kind: why its plug-in is broken, the nearest names, or all of them."""
    if name in KINDS.broken:
        return f"its plug-in {KINDS.broken[name]}"
    near = get_close_matches(name, KINDS, 2)
    return f"did you mean {' or '.join(near)}?" if near else f"kinds are {', '.join(sorted(KINDS))}"
