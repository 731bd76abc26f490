"""Typed code of a schema: `model.py` has the records of each format alike, the other modules write a language each."""
