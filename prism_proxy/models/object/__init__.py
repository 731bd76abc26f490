"""The Object data model: objects of any size in buckets that a namespace lists."""
