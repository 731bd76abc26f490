"""The gRPC services: each method decodes, calls a pattern, encodes. No rules live here."""
