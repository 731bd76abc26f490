"""The KeyValue model: values by key."""
