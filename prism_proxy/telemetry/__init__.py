"""Metrics, structured logs, trace context, and the HTTP port that shows them."""
