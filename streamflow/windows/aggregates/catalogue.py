"""Aggregates by the name they have in a topology."""

from difflib import get_close_matches
from typing import TypeVar

from streamflow.errors import Problem, TopologyError
from streamflow.windows.aggregates import basic, collected, distinct, heavy_hitters, quantiles, spread, timed
from streamflow.windows.aggregates.aggregate import AggregateKind
from streamflow.windows.aggregates.own import OwnAggregate, Registry

_FAMILIES = (basic, spread, timed, collected, distinct, quantiles, heavy_hitters)
#: Those that come with streamflow.
BUILT_IN: dict[str, AggregateKind] = {kind.name: kind for family in _FAMILIES for kind in family.KINDS}

#: What people call them elsewhere.
_SYNONYMS = {
    "mean": "average", "avg": "average", "total": "sum", "maximum": "max", "minimum": "min",
    "var": "variance", "var_samp": "variance", "var_pop": "variance_population",
    "std": "stddev", "stdev": "stddev", "stddev_samp": "stddev", "stddev_pop": "stddev_population",
    "quantile": "percentile", "approx_percentile": "percentile", "unique": "distinct_count",
    "count_distinct": "distinct_count", "approx_count_distinct": "distinct_count", "nunique": "distinct_count",
    "earliest": "first", "latest": "last", "array_agg": "collect", "list": "collect", "topk": "top_k",
}  # fmt: skip

_own = Registry()
_Own = TypeVar("_Own", bound=type[OwnAggregate])


def register(own: _Own) -> _Own:
    """Make a person's own aggregate known by its name; also a class decorator.

    Raises TopologyError with all that is wrong with it.
    """
    name = getattr(own, "name", "")
    if name in BUILT_IN:
        problem = Problem(f"aggregate {name}", "comes with streamflow already", f"rename {own.__qualname__}'s")
        raise TopologyError((problem,))
    _own.add(own)
    return own


def find(name: str) -> AggregateKind | None:
    """The aggregate of that name. Raises TopologyError when the package that has it fails."""
    return BUILT_IN.get(name) or _own.find(name)


def hint(name: str) -> str:
    """What an unknown name may have meant: the nearest one, or all of them."""
    known = [*BUILT_IN, *_own.names()]
    near = get_close_matches(_SYNONYMS.get(name, name), known, 1)
    return f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
