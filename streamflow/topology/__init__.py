"""Declared topologies: YAML and Python, one frozen spec."""
