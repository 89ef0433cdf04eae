"""Where the nodes of a worker keep results of calls on disk: a folder per node, beside the stores of its tasks."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from streamflow.calls.policy import CachePlan
from streamflow.calls.result_cache import Tier
from streamflow.errors import StoreFailed

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ResultFolders:
    """Opens the results of a node, by its name. share: makes those that others hear of, where a node wants that."""

    folder: Path
    share: Callable[[Tier, CachePlan], Tier] | None = None

    def __call__(self, node: str, plan: CachePlan) -> Tier | None:
        """Results on disk; what is damaged is begun anew, and where that fails there are none."""
        found = self._open(node, plan)
        return self.share(found, plan) if found is not None and plan.shared and self.share is not None else found

    def _open(self, node: str, plan: CachePlan) -> Tier | None:
        from streamflow.state.kept_results import KeptResults

        path = self.folder / node
        try:
            return KeptResults(path, plan.disk_bytes, plan.identity)
        except StoreFailed as error:
            log.warning("%s; they begin anew", error, extra={"node": node})
        try:
            KeptResults.discard(path)
            return KeptResults(path, plan.disk_bytes, plan.identity)
        except StoreFailed as error:
            log.warning("results of node %s are kept in memory alone: %s", node, error, extra={"node": node})
            return None
