"""The proxy's configuration: flags, environment and file, read strictly and bound to typed settings."""
