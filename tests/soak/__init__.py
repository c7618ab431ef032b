"""Random graphs through every public operation, each answer held against enumeration and OpenFst.

`python -m tests.soak --seconds 60 --seed 7` draws batches of small graphs, chains operations at
random and checks the weight of every short string, path sums, gradients and arc maps. A failure is
made as small as it gets and printed as a program. Nothing here is part of the test suite but
`test_soak.py`, which runs it for a moment, finds a planted fault, and holds `names.py` against
what gtnet exports.
"""
