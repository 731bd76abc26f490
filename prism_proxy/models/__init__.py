"""Data models: for each the contract of its drivers, its meaning over one slot, and the servicers of its interfaces."""
