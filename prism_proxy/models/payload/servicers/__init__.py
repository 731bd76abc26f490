"""Servicers of the Payload interface."""
