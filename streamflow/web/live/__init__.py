"""Live tables: a snapshot, then what changes. docs/live.md has the wire, docs/decisions/0025-live-tables.md the why."""
