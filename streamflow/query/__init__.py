"""Table queries over a store: requests, rows, pages."""
