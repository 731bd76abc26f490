"""The listener and the native gRPC server: ports, TLS, method table, limits, drain."""
