"""What a topology needs of a cluster."""
