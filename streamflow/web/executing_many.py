"""Many events in one execute: an outcome each, and one time for all to wait.

    {"counts": {"done": 8, "pending": 1, "rejected": 1}, "results": [{"id", "status", "rows", "late", "dead"}, …]}

Every event is an execution like any other; their ids follow from the first one's, so a short Location has all of them.
"""

from collections import Counter
from typing import Any

from fastapi import Response

from streamflow.model.outcome import Outcome
from streamflow.web.problems import JsonResponse

#: Events of one request.
ITEMS_MAX = 100
#: Of parts of outcomes in one answer; what lies behind is `omitted`, and can be asked for by its id.
SHOWN_MAX_BYTES = 8 << 20


def answer_all(
    topology: str, ids: list[str], outcomes: list[Outcome], rejected: list[dict[str, Any]], more: dict[str, Any]
) -> Response:
    """The answer about events of a request, in its order: `rejected` ones name their places, `ids` are the others'."""
    results: list[dict[str, Any]] = []
    places, room = {each["index"]: each for each in rejected}, SHOWN_MAX_BYTES
    known = zip(ids, outcomes, strict=True)
    for index in range(len(ids) + len(rejected)):
        if index in places:
            refused = places[index]
            results.append({"status": "rejected", "reason": refused["reason"], "message": refused["message"]})
            continue
        execution, outcome = next(known)
        room -= outcome.size_bytes
        shown = outcome.shown() if room >= 0 else {"status": outcome.status, "omitted": True}
        results.append({"id": execution, **shown})
    counts = Counter(each["status"] for each in results)
    body = {"counts": counts, "results": results, **more}
    if counts["pending"]:
        location = f"/v1/topologies/{topology}/executions/{ids[0]}?count={len(ids)}"
        return JsonResponse(body, status_code=202, headers={"Location": location, "Retry-After": "1"})
    return JsonResponse(body, status_code=200 if ids else 422)
