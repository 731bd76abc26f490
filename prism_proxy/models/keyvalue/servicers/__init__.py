"""The gRPC services of the KeyValue interfaces."""
