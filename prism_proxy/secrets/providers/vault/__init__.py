"""HashiCorp Vault and OpenBao: secrets of the KV engine, and keys wrapped by the transit engine."""
