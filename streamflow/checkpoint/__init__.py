"""What a checkpoint carries, and when to take one. Pure."""
