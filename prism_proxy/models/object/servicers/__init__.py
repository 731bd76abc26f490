"""The Object services: each method decodes, calls the model, encodes."""
