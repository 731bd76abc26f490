"""Side-by-side benchmarks: `python -m benchmarks --help`. Nothing of the product may import this package."""
