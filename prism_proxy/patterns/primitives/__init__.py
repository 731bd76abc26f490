"""The default pattern: every thin interface that the driver of one slot declares."""
