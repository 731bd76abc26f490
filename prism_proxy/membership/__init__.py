"""A proxy as one of several: it registers with the admin, and serves what the admin assigns to it."""
