"""The memory store: a hash table with expiry and eviction in C, and its face towards Python."""
