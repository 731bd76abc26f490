"""The forwarding of calls to the process that owns their namespace: peers, partition ownership, paused calls."""
