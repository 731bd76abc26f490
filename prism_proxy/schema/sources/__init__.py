"""The kinds of places that schemas are fetched from."""
