"""Where rows go outside of Kafka, each once: files and databases. See decision 0033."""
