"""The command line, and the wiring of web to runtime."""
