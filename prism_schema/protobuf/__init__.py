"""Protobuf schemas: the text of .proto files."""
