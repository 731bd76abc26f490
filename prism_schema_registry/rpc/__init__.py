"""`prism.schema.v1` over gRPC."""
