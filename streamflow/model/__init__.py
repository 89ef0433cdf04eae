"""Rows, schemas, expressions, chunks: what everything else speaks of. No I/O."""
