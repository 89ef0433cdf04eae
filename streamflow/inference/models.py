"""Loaded models of a process: each once, whoever asks; the least recently used ones go when they are too many bytes.

get(card)       the model, loaded now if need be: file read, digest verified, content judged, warmed up
bring(card)     loads it beside the work, and waits for it
is_ready(card)  whether it is loaded; if not, loading begins beside the work
"""

import asyncio
import logging
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING

import msgspec

from streamflow.errors import Lasting, ModelError, ModelsUnreachable
from streamflow.inference.adapter import Column, Predictor, adapter
from streamflow.inference.answers import answers_of
from streamflow.inference.card import InputType, ModelCard
from streamflow.inference.content import format_of
from streamflow.inference.files import Files
from streamflow.model.late_import import LateImport

if TYPE_CHECKING:
    import numpy as np
else:
    np = LateImport("numpy")

log = logging.getLogger(__name__)

#: Rows of a call come in multiples of this. Matrix products take another way for a single row than for several, and a
#: row's answer must not depend on how many came with it (decision 0032).
TILE = 8


@dataclass(slots=True)
class Loaded:
    """A model that is ready. load_s: how long reading, loading and warming up took."""

    card: ModelCard
    predictor: Predictor
    load_s: float = 0.0

    def predict(self, columns: Sequence[Column]) -> list[Column]:
        """Columns of the answers, one row per row given; the last row is repeated to fill a tile."""
        count = len(columns[0])
        fill = -count % TILE
        if fill:
            columns = [np.concatenate([each, np.repeat(each[-1:], fill, axis=0)]) for each in columns]
        return [np.asarray(each)[:count] for each in self.predictor.predict(columns)]


@dataclass(slots=True)
class Models:
    """The cache. max_bytes: of model files whose models are held; the newest one is held even alone.

    hits, loads: what it was asked for and had, or had to load. providers: of onnxruntime, in order of preference,
    for models whose cards name none. retry_s: pause before a newer version that could not be fetched is tried again.
    """

    files: Files
    max_bytes: int
    background: bool = False
    providers: tuple[str, ...] = ()
    retry_s: float = 30.0
    hits: int = 0
    loads: int = 0
    _held: OrderedDict[str, Loaded] = field(default_factory=OrderedDict)
    _coming: dict[str, "Future[Loaded]"] = field(default_factory=dict)
    _refused_until: dict[str, float] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)
    _pool: ThreadPoolExecutor | None = None

    def get(self, card: ModelCard) -> Loaded:
        """The model of a card. Raises ModelError."""
        key = _key(card)
        with self._lock:
            found = self._held.get(key)
            if found is not None:
                self.hits += 1
                self._held.move_to_end(key)
                return found
        return self._hold(key, load(card, self.files, self.providers))

    async def bring(self, card: ModelCard) -> None:
        """Load the model in a thread: its file may be far away. Who asks for the same one waits with it.

        Raises ModelError.
        """
        key = _key(card)
        if key in self._held:
            return
        coming = self._begin(card)
        try:
            await asyncio.shield(asyncio.wrap_future(coming))  # others may wait for it too
        finally:
            if coming.done() and self._coming.get(key) is coming:
                del self._coming[key]

    def is_ready(self, card: ModelCard) -> bool:
        """Whether the model can be used at once. One that cannot be loaded is told in the log, once, and never is; one
        that cannot be fetched is tried again."""
        key = _key(card)
        if key in self._held:
            return True
        if time.monotonic() < self._refused_until.get(key, 0.0):
            return False
        if not self.background:
            return self._took(key, lambda: self.get(card))
        return self._begin(card).done() and self._took(key, self._coming.pop(key).result)

    def _begin(self, card: ModelCard) -> "Future[Loaded]":
        key = _key(card)
        if key not in self._coming:
            self._pool = self._pool or ThreadPoolExecutor(1, "models")
            self._coming[key] = self._pool.submit(self.get, card)
        return self._coming[key]

    def _took(self, key: str, found: Callable[[], Loaded]) -> bool:
        try:
            found()
        except ModelError as error:
            lasts = error.lasting is Lasting.PERMANENT
            self._refused_until[key] = math.inf if lasts else time.monotonic() + self.retry_s
            log.error("the newest version is not used: %s", error)
            return False
        return True

    def _hold(self, key: str, loaded: Loaded) -> Loaded:
        with self._lock:
            self.loads += 1
            self._held[key] = loaded
            size = sum(each.card.size_bytes for each in self._held.values())
            while size > self.max_bytes and len(self._held) > 1:
                size -= self._held.popitem(last=False)[1].card.size_bytes
        return loaded


def _key(card: ModelCard) -> str:
    """One file may have several cards, with options of their own."""
    return f"{card.id} {card.digest}"


def load(card: ModelCard, files: Files, providers: tuple[str, ...] = ()) -> Loaded:
    """Read, judge, load and warm up. Raises ModelError."""
    began = time.monotonic()
    try:
        data = files.read(card)
    except OSError as error:
        raise ModelsUnreachable(f"the file of model {card.id} cannot be read: {error}; mind its folder") from error
    found = format_of(data)
    if found and found != card.format:
        raise ModelError(f"model {card.id} is called {card.format}, its file is {found}; add it again")
    make = adapter(card.format)
    try:
        options = {"providers": list(providers), **card.options} if providers else card.options
        loaded = Loaded(card, make(data, msgspec.structs.replace(card, options=options)))
    except ModelError:
        raise
    except Exception as error:  # whatever a foreign adapter raises
        raise ModelError(f"model {card.id} cannot be loaded by its adapter {card.format}: {error!r}") from error
    try:
        columns = loaded.predict([_trial(each.type) for each in card.inputs])
        answers_of(card.task, card.labels or loaded.predictor.labels, 0, card.version)(columns)
    except Exception as error:  # whatever the framework raises
        if not any(each.type is InputType.LIST for each in card.inputs):  # their length is not known before they come
            raise ModelError(f"model {card.id} does not do what its card says: {error}") from error
    loaded.load_s = time.monotonic() - began
    log.info("model %s loaded in %.3f s", card.id, loaded.load_s)
    return loaded


def _trial(kind: InputType) -> Column:
    """One row to warm up with."""
    if kind is InputType.TEXT:
        return np.array(["a"], dtype=np.object_)
    return np.zeros((1, 1) if kind is InputType.LIST else 1)
