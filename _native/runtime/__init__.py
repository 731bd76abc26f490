"""What belongs to the process: clocks, the heap, names."""
