"""A supervisor and its worker processes, which serve the same ports."""
