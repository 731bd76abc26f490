"""Encrypts what a namespace stores and publishes. Imported where a namespace has `encryption.enabled`."""
