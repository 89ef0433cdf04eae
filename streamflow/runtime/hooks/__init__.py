"""Every private hook of Faust and aiokafka that is used, each with a contract test."""
