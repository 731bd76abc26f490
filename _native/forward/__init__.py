"""Calls that another process serves, sent on as bytes."""
