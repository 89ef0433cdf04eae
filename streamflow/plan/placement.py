"""Where stages run: on workers that have what their nodes require. Local first; every answer has its reason."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from streamflow.plan.plan import Plan, Stage

#: Extras of streamflow that nodes may require, by a module that each brings.
EXTRAS = {
    "cron": "cronsim",
    "models": "onnxruntime",
    "objects": "obstore",
    "parquet": "pyarrow",
    "postgres": "psycopg",
    "tracing": "opentelemetry.sdk",
    "wasm": "wasmtime",
}


class Where(StrEnum):
    """Who can run a stage."""

    LOCAL = "local"  # this worker, and maybe others
    REMOTE = "remote"  # only others
    NOBODY = "nobody"


@dataclass(frozen=True, slots=True)
class Placed:
    """A stage with who can run it. workers: others that can; remedy: empty unless nobody can."""

    stage: Stage
    where: Where
    workers: tuple[str, ...]
    reason: str
    remedy: str = ""

    def shown(self) -> dict[str, Any]:
        """As data that JSON can carry."""
        requires = dict(self.stage.requires)
        named = [(name, "source") for name in self.stage.sources]
        named += [(node.name, node.kind) for node in self.stage.nodes]
        return {
            "stage": self.stage.name,
            "nodes": [{"name": name, "kind": kind, "requires": list(requires.get(name, ()))} for name, kind in named],
            "where": self.where.value,
            "workers": list(self.workers),
            "reason": self.reason,
            **({"remedy": self.remedy} if self.remedy else {}),
        }


def placed(plan: Plan, local: Collection[str], others: Mapping[str, Collection[str]]) -> Sequence[Placed]:
    """Who can run each stage. local: capabilities of this worker; others: those of other workers, by address."""
    return [_placed(stage, frozenset(local), others) for stage in plan.stages]


def _placed(stage: Stage, local: frozenset[str], others: Mapping[str, Collection[str]]) -> Placed:
    wanted = stage.capabilities
    able = tuple(sorted(url for url, has in others.items() if wanted <= set(has)))
    if not wanted:
        return Placed(stage, Where.LOCAL, able, "its nodes require nothing")
    by = " and ".join(f"{node} requires {', '.join(names)}" for node, names in stage.requires)
    if wanted <= local:
        return Placed(stage, Where.LOCAL, able, f"{by}, which is here")
    lacking = ", ".join(sorted(wanted - local))
    if able:
        return Placed(stage, Where.REMOTE, able, f"{by}; {lacking} is not here, but there")
    asked = f", nor has one of {len(others)} other workers all of it" if others else ", and no other worker is known"
    remedy = f"start a worker that has {', '.join(sorted(wanted))}; what cannot be found by looking is named in "
    return Placed(stage, Where.NOBODY, (), f"{by}; {lacking} is not here{asked}", f"{remedy}STREAMFLOW_CAPABILITIES")
