"""The benchmark: ours and the peers in one run. `tests/bench` starts it."""
