"""Models that score rows: what they are, where their files are, how they are loaded and asked. See decision 0032."""
