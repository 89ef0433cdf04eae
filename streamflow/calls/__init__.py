"""Calls to the outside: what an async node does with a row, and how it stands what goes wrong. Knows no engine."""
