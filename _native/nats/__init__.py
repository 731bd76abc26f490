"""RESP connections that carry the commands of many calls."""
