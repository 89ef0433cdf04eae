"""Alerts: rules over the metrics stream, who is told of what, and how."""
