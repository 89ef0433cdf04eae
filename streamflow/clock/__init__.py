"""The clock port."""
