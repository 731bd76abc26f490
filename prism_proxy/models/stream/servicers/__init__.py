"""The Stream services: each method decodes, calls the model, encodes."""
