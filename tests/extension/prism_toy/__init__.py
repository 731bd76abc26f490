"""Counters for Prism: a data model, a pattern, a step and a backend of a third party."""
