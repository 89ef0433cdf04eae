"""Proof that nobody changed the log: digests, signed seals over them, and the check of both."""
