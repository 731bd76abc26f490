"""The keyvalue pattern: the primitives pattern, restricted to the KeyValue interfaces."""
