"""Servers that the benchmarks run beside ours, each a small source and nothing else."""
