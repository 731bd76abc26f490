"""Typed async client of the control plane: for proxies, launchers and tools. Imports no proxy, and no admin."""

from admin_client.client import AdminClient, AdminError
from admin_client.credentials import Credentials
from admin_client.session import Listener, ProxySession, Timing

__all__ = ["AdminClient", "AdminError", "Credentials", "Listener", "ProxySession", "Timing"]
