"""The HTTP face: what stock registry clients call, over a small HTTP/1.1 server."""
