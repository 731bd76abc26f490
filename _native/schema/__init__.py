"""Validation of payloads: yes or no, at once. Who wants reasons asks `prism_schema`."""
