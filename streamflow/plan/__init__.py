"""From a topology to what will run: stages, topics, tables."""
