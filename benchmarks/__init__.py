"""Measures speed and memory of this machine: medians and ratios, never a verdict.

`make bench` runs all of them; `python -m benchmarks --help` says how to run one. Nothing here is a test: a
machine under load, or a small one, gives other figures, so the load is printed beside them.
"""
