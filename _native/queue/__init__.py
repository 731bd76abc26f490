"""Enqueueing without a servicer."""
