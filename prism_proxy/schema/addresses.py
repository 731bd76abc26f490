"""Which machines may be asked. A name is resolved once; what is checked is what is connected to."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from aiohttp.abc import AbstractResolver, ResolveResult

from prism_proxy.schema.errors import ADDRESS_NOT_ALLOWED, SchemaUnresolved


class Addresses:
    """`networks` are private ones that are allowed."""

    def __init__(self, networks: Iterable[str] = ()) -> None:
        self._networks = tuple(ip_network(one) for one in networks)

    def check(self, host: str, address: str) -> None:
        """SchemaUnresolved for loopback, private, link-local and other special addresses that are not allowed."""
        found = ip_address(address.partition("%")[0])
        if isinstance(found, IPv6Address):
            found = found.ipv4_mapped or found.sixtofour or found
        if not self._allowed(found):
            raise SchemaUnresolved(
                ADDRESS_NOT_ALLOWED, host, f"the address {found} is not public: add its network to "
                "proxy.schemas.allow_networks if schemas may be fetched from there")

    def _allowed(self, address: IPv4Address | IPv6Address) -> bool:
        if any(address.version == network.version and address in network for network in self._networks):
            return True
        return address.is_global and not address.is_multicast


class CheckedResolver(AbstractResolver):
    """Resolves for one connector. Gives back checked addresses only, so that a name cannot change its mind between the
    check and the connection."""

    def __init__(self, addresses: Addresses | None) -> None:
        self._addresses = addresses

    async def resolve(self, host: str, port: int = 0,
                      family: socket.AddressFamily = socket.AF_INET) -> list[ResolveResult]:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM, family=family)
        made: list[ResolveResult] = []
        for kind, _, proto, _, address in found:
            if self._addresses is not None:
                self._addresses.check(host, str(address[0]))
            made.append(ResolveResult(hostname=host, host=str(address[0]), port=port, family=kind, proto=proto,
                                      flags=socket.AI_NUMERICHOST))
        return made

    async def close(self) -> None:
        """Nothing is kept."""


def literal(host: str) -> str | None:
    """The address that a host is, rather than names."""
    try:
        return str(ip_address(host.strip("[]")))
    except ValueError:
        return None


