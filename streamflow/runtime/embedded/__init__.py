"""A real Apache Kafka for demo, tests and development."""
