"""How bad an alert is: by how many times its value is beyond its limit."""

from typing import Literal

AlertSeverity = Literal["info", "warning", "critical"]
#: Least first.
SEVERITIES: tuple[AlertSeverity, ...] = ("info", "warning", "critical")


def severity_of(value: float, limit: float, warning: float, critical: float) -> AlertSeverity:
    """Of a value that is above its limit, or below. A limit of 0 is passed without measure: critical."""
    high, low = (value, limit) if value > limit else (limit, value)
    ratio = high / low if low > 0 else float("inf")
    return "critical" if ratio > critical else "warning" if ratio > warning else "info"


def is_worse(severity: str, before: str) -> bool:
    """Whether a severity is above another."""
    names: tuple[str, ...] = SEVERITIES
    return names.index(severity) > names.index(before)
