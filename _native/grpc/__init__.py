"""gRPC over HTTP/2: calls, servicers, messages, routing, quotas; the server's side and the client's."""
