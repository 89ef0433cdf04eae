"""Benchmarks: workload A and latency, streamflow beside plain Faust and Quix Streams, results checked."""
