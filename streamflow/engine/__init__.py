"""Tasks: chunks in, checkpoints out. Knows no Kafka."""
