"""The commands of `gtnet`: `run` of each file does one."""
