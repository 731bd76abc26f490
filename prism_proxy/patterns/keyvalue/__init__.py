"""The KeyValue pattern: validation and meaning of the six interfaces over one slot."""
