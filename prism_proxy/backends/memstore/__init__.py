"""The in-memory store of this process: volatile, local, the reference implementation of every contract."""
