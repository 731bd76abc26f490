"""Queue: work that one consumer leases, and settles."""
