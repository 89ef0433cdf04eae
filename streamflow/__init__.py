"""streamflow: Kafka stream processing in Python. Declare a topology, run it exactly once, query its windows."""
