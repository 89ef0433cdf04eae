"""The engine on Kafka: Faust, aiokafka, transactions, recovery. The only package that imports them."""
