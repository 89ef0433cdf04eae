"""Settings of a worker, from the environment."""
