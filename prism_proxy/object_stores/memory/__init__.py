"""Objects in the memory of this process: the reference of the contract, for tests and for trying things out."""
