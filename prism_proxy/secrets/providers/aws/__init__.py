"""Amazon Web Services: Secrets Manager, and keys wrapped by the Key Management Service."""
