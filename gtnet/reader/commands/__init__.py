"""The commands of `gtnet`: each file has `add`, which describes one, and `run`."""
