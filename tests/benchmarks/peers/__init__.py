"""One driver a program: reads a JSON specification, trains by it, prints a JSON result.

A driver runs as `python -m tests.benchmarks.peers.NAME SPECIFICATION` in its program's own environment; nothing here
imports more than that environment has.
"""
