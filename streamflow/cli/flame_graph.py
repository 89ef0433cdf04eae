"""Flame graphs (Gregg, "The flame graph", CACM 2016) as one SVG: a row per depth, as wide as the time below it.

    ┌────────────────────────────── all ──────────────────────────────┐
    ├──────────── thread MainThread ────────────┬── thread consumer ──┤
    ├──── node hourly ────┬─── node flown ──────┤

A browser shows name, time and share of a frame that the mouse is over.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from html import escape

_WIDTH, _ROW, _TOP = 1_200, 17, 28
#: What would be narrower is left out: nobody can see it.
_LEAST = 0.3
_CHARACTER = 6.6


@dataclass
class _Frame:
    spent: int = 0
    below: dict[str, "_Frame"] = field(default_factory=dict)

    @property
    def depth(self) -> int:
        return 1 + max((frame.depth for frame in self.below.values()), default=0)


def flame_graph(stacks: Iterable[tuple[list[str], int]], title: str) -> str:
    """SVG of stacks: (frames, the outermost first; time in µs)."""
    root = _Frame()
    for frames, spent in stacks:
        root.spent += spent
        frame = root
        for name in frames:
            frame = frame.below.setdefault(name, _Frame())
            frame.spent += spent
    height = _TOP + root.depth * _ROW
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" font-family="monospace">',
        f'<text x="4" y="18" font-size="13">{escape(title)}</text>',
        *_boxes("all", root, 0.0, 0, _WIDTH / max(1, root.spent), max(1, root.spent)),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _boxes(name: str, frame: _Frame, x: float, depth: int, scale: float, total: int) -> list[str]:
    width = frame.spent * scale
    if width < _LEAST:
        return []
    y, text = _TOP + depth * _ROW, name[: max(0, int(width / _CHARACTER) - 1)]
    hint = f"{name}: {frame.spent / 1_000:.1f} ms, {frame.spent / total:.1%}"
    hue = 200 if name.startswith("node ") else 20 + sum(name.encode()) % 40
    lines = [
        f'<g><title>{escape(hint)}</title><rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{_ROW - 1}" '
        f'fill="hsl({hue},75%,70%)"/><text x="{x + 2:.1f}" y="{y + 12}" font-size="11">{escape(text)}</text></g>'
    ]
    for child, below in sorted(frame.below.items()):
        lines += _boxes(child, below, x, depth + 1, scale, total)
        x += below.spent * scale
    return lines
