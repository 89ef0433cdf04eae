"""streamflow profile: where a worker's processor time goes, by node and function, and as a flame graph."""

import json
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer

from streamflow.cli.client import URL, Url, ask
from streamflow.cli.connect import connect
from streamflow.cli.flame_graph import flame_graph
from streamflow.cli.show import AsJson, console, print_json, print_table, refusals
from streamflow.errors import UserError

_ROWS = 15


def profile(
    seconds: Annotated[float, typer.Option(min=0.1, max=60, help="how long to look")] = 10,
    out: Annotated[
        Path | None, typer.Option(help="flame graph (.svg), speedscope (.json) or folded stacks (.txt)")
    ] = None,
    url: Url = URL,
    as_json: AsJson = False,
) -> None:
    """Look at a running worker and show where its processor time goes."""
    with refusals():
        if out is not None and out.suffix not in _WRITERS:
            raise UserError(f"--out {out}: its name ends with {', '.join(_WRITERS)}")
        with connect(url, seconds + 30) as client:
            found = ask(client, "/v1/profile", {"seconds": str(seconds)})
        if out is not None:
            out.write_text(_WRITERS[out.suffix](found))
        if as_json:
            print_json(found)
            return
        _print(found)


def stacks_of(found: dict[str, Any]) -> list[tuple[list[str], int]]:
    """(frames, µs), the outermost frame first."""
    names = found["frames"]
    return [([names[frame] for frame in stack["frames"]], stack["us"]) for stack in found["stacks"]]


def _print(found: dict[str, Any]) -> None:
    total_us = sum(stack["us"] for stack in found["stacks"]) + found["native_us"]
    alone: Counter[str] = Counter()
    below: Counter[str] = Counter()
    for frames, spent_us in stacks_of(found):
        alone[frames[-1]] += spent_us
        below.update(dict.fromkeys(frames, spent_us))

    def share(spent_us: int) -> str:
        return f"{spent_us / max(1, total_us):.1%}"

    nodes = [[row["stage"], row["node"], share(row["us"])] for row in found["nodes"]]
    print_table("nodes, with what they call", ["stage", "node", "of the time"], nodes)
    functions = [[name, share(spent), share(below[name])] for name, spent in alone.most_common(_ROWS)]
    print_table("functions", ["function", "alone", "with what it calls"], functions)
    threads = [f"{row['thread']} {share(row['us'])}" for row in found["threads"]]
    console.print(f"threads: {', '.join(threads)}, native {share(found['native_us'])}", highlight=False)
    used = total_us / found["seconds"] / 1e6
    console.print(
        f"{found['looks']} looks in {found['seconds']:.1f} s at {found['worker']}, {used:.0%} of one core used",
        highlight=False,
    )


def _svg(found: dict[str, Any]) -> str:
    return flame_graph(stacks_of(found), f"{found['worker']}, {found['seconds']} s")


def _folded(found: dict[str, Any]) -> str:
    lines = [f"{';'.join(frame.replace(';', ',') for frame in frames)} {us}" for frames, us in stacks_of(found)]
    return "\n".join(lines) + "\n"


def _speedscope(found: dict[str, Any]) -> str:
    """https://www.speedscope.app/file-format-schema.json"""
    weights = [stack["us"] for stack in found["stacks"]]
    shown = {
        "type": "sampled",
        "name": found["worker"],
        "unit": "microseconds",
        "startValue": 0,
        "endValue": sum(weights),
        "samples": [stack["frames"] for stack in found["stacks"]],
        "weights": weights,
    }
    return json.dumps(
        {
            "$schema": "https://www.speedscope.app/file-format-schema.json",
            "exporter": "streamflow",
            "shared": {"frames": [{"name": name} for name in found["frames"]]},
            "profiles": [shown],
        }
    )


_WRITERS = {".svg": _svg, ".json": _speedscope, ".txt": _folded}
