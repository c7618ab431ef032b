"""gtnet beside its peers, on one thread: `python -m benchmarks`."""
