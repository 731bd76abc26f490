"""Authenticated encryption by libcrypto."""
