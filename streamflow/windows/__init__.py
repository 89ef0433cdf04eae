"""Windows and aggregates as plain data and source text."""
