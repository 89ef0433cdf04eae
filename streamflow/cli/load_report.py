"""What load runs showed: grades, findings and advice. Pure data, so that old results can be judged again."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

GRADES = "DCBA"
#: Of a run as a whole: most errors (share), mean response below (s), more answers per second than.
_LIMITS = {"A": (0.01, 1.0, 10.0), "B": (0.02, 2.0, 5.0), "C": (0.05, 5.0, 0.0)}
#: A run that achieves less of what it was offered is over what the service can do.
ACHIEVED_LEAST = 0.9
_ADVICE = {
    "errors": "look what the refused requests were told; 429 and 503 name the limit that was met (docs/settings.md)",
    "slow": "see which nodes take the time (streamflow profile), cache what is asked for often, add workers",
    "tail": "look for long pauses: commits, rebalances, neighbours on the machine (dashboards, streamflow top)",
    "behind": "send larger batches, over more workers; partitions bound them",
}
_STEPS = (
    "repeat the run at twice the highest rate that was achieved, until it is not",
    "repeat it with the machine's usual neighbours, and with a worker killed in the middle",
    "set alerts below what was achieved here (docs/alerts.md)",
    "keep this report, and compare after the next change",
)


@dataclass(frozen=True)
class LoadRun:
    """One run. Rates are requests per second, times seconds from when a request was due, whenever it was sent."""

    name: str
    seconds: float
    offered_per_s: float
    achieved_per_s: float
    requests: int
    errors: int
    first_error: str
    events_per_request: int
    mean_s: float
    min_s: float
    max_s: float
    p50_s: float
    p95_s: float
    p99_s: float

    @property
    def error_rate(self) -> float:
        """Share of all requests that were not answered well."""
        return self.errors / self.requests if self.requests else 0.0

    @property
    def grade(self) -> str:
        """A to D."""
        for grade, (errors, mean_s, rate) in _LIMITS.items():
            if self.error_rate < errors and self.mean_s < mean_s and self.achieved_per_s > rate:
                return grade
        return "D"


def problems(run: LoadRun) -> dict[str, str]:
    """What was wrong, by what helps against it."""
    found = {}
    if run.error_rate >= _LIMITS["A"][0]:
        found["errors"] = f"{run.error_rate:.1%} of the requests failed, first: {run.first_error}"
    if run.mean_s >= _LIMITS["A"][1]:
        found["slow"] = f"a request took {run.mean_s:.2f} s on average"
    elif not run.errors and run.p99_s > max(0.1, 10 * run.p50_s):
        found["tail"] = f"one in a hundred took {run.p99_s:.2f} s, half of them {run.p50_s:.3f} s"
    if run.achieved_per_s < ACHIEVED_LEAST * run.offered_per_s:
        found["behind"] = f"{run.achieved_per_s:.0f} of {run.offered_per_s:.0f} requests/s were achieved"
    return found


def report(runs: Sequence[LoadRun]) -> dict[str, Any]:
    """Of at least one run. critical_issues: runs with errors of 5 % and more, or behind what was offered."""
    found = {run.name: problems(run) for run in runs}
    critical = [run for run in runs if run.grade == "D" or "behind" in found[run.name]]
    met = {about for each in found.values() for about in each}
    advice = [{"about": about, "advice": text} for about, text in _ADVICE.items() if about in met]
    results = [
        {**asdict(run), "error_rate": run.error_rate, "grade": run.grade, "problems": found[run.name]} for run in runs
    ]
    return {
        "executive_summary": {
            "total_workflows_tested": len(runs),
            "average_performance_grade": GRADES[round(fmean(GRADES.index(run.grade) for run in runs))],
            "critical_issues": len(critical),
            "optimization_opportunities": sum(map(len, found.values())),
        },
        "detailed_results": results,
        "optimization_recommendations": advice,
        "next_steps": list(_STEPS),
    }
