"""Typed async client of the control plane: for proxies, launchers and tools. Imports no proxy code."""

from admin_client.client import AdminClient, AdminError
from admin_client.credentials import Credentials, fingerprint
from admin_client.session import Listener, ProxySession, Timing

__all__ = ["AdminClient", "AdminError", "Credentials", "Listener", "ProxySession", "Timing", "fingerprint"]
