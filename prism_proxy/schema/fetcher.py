"""Fetches a text over HTTP: bounded in size and time, from allowed machines, with each redirect looked at."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from urllib.parse import urljoin, urlsplit

import aiohttp

from prism_proxy.schema.addresses import Addresses, CheckedResolver, literal
from prism_proxy.schema.errors import (
    ADDRESS_NOT_ALLOWED,
    NOT_FOUND,
    REGISTRY_REFUSED,
    TOO_LARGE,
    UNREACHABLE,
    SchemaUnresolved,
)

MAX_BYTES = 1024 * 1024
MAX_REDIRECTS = 3
MAX_REASON = 500  # bytes of what a registry says against a schema
_REDIRECTS = (301, 302, 303, 307, 308)


class Fetcher:
    """`timeout` is for a fetch with all its redirects. Connections are not kept: schemas are fetched seldom."""

    def __init__(self, addresses: Addresses, timeout: float) -> None:
        self._addresses = addresses
        self._timeout = timeout
        self.requests = 0

    async def get(self, url: str, *, private: bool = False, headers: Mapping[str, str] | None = None,
                  auth: tuple[str, str] | None = None, allowed: Callable[[str], None] | None = None) -> bytes:
        """The body. `private` allows every network, and then no redirect. `allowed` raises for a place that may not be
        asked; it hears of each redirect too. SchemaUnresolved."""
        try:
            async with asyncio.timeout(self._timeout):
                return await self._get(url, private=private, headers=headers or {}, auth=auth, allowed=allowed)
        except SchemaUnresolved as error:
            if error.reason == ADDRESS_NOT_ALLOWED and error.place != url:
                raise SchemaUnresolved(ADDRESS_NOT_ALLOWED, url, f"{error.place}: {error.why}") from None
            raise
        except TimeoutError:
            raise SchemaUnresolved(UNREACHABLE, url, f"no answer within {self._timeout:g} s", temporary=True) from None

    async def _get(self, url: str, *, private: bool, headers: Mapping[str, str], auth: tuple[str, str] | None,
                   allowed: Callable[[str], None] | None) -> bytes:
        connector = aiohttp.TCPConnector(resolver=CheckedResolver(None if private else self._addresses),
                                         use_dns_cache=False, force_close=True)
        async with aiohttp.ClientSession(connector=connector, trust_env=False, auto_decompress=False,
                                         cookie_jar=aiohttp.DummyCookieJar()) as session:
            origin = urlsplit(url).netloc
            for _ in range(MAX_REDIRECTS + 1):
                self._check(url, private=private, allowed=allowed)
                same = urlsplit(url).netloc == origin
                basic = aiohttp.BasicAuth(*auth) if auth and same else None
                sent = {"Accept-Encoding": "identity", **(headers if same else {})}
                self.requests += 1
                try:
                    async with session.get(url, headers=sent, auth=basic, allow_redirects=False) as reply:
                        target = reply.headers.get("Location") if reply.status in _REDIRECTS else None
                        if target is None:
                            return await _body(url, reply)
                except (aiohttp.ClientError, OSError) as error:
                    raise SchemaUnresolved(UNREACHABLE, url, str(error) or type(error).__name__,
                                           temporary=True) from error
                if private:
                    raise SchemaUnresolved(REGISTRY_REFUSED, url, f"it redirects to {target}: write that address")
                url = urljoin(url, target)
        raise SchemaUnresolved(REGISTRY_REFUSED, url, f"more than {MAX_REDIRECTS} redirects")

    async def send(self, method: str, url: str, body: bytes, kind: str, *,
                   auth: tuple[str, str] | None = None) -> bytes:
        """The answer of a registry, whose address the operator wrote, to a body of this type. SchemaUnresolved."""
        self._check(url, private=True, allowed=None)
        connector = aiohttp.TCPConnector(resolver=CheckedResolver(None), use_dns_cache=False, force_close=True)
        headers = {"Accept-Encoding": "identity", "Content-Type": kind, "Accept": f"{kind}, application/json"}
        self.requests += 1
        try:
            async with (asyncio.timeout(self._timeout),
                        aiohttp.ClientSession(connector=connector, trust_env=False, auto_decompress=False,
                                              cookie_jar=aiohttp.DummyCookieJar()) as session,
                        session.request(method, url, data=body, headers=headers, allow_redirects=False,
                                        auth=aiohttp.BasicAuth(*auth) if auth else None) as reply):
                if 400 <= reply.status < 500 and reply.status != 429:
                    said = (await reply.content.read(MAX_REASON)).decode(errors="replace")
                    raise SchemaUnresolved(REGISTRY_REFUSED, url, f"it answers {reply.status}: {said}")
                return await _body(url, reply)
        except TimeoutError:
            raise SchemaUnresolved(UNREACHABLE, url, f"no answer within {self._timeout:g} s", temporary=True) from None
        except (aiohttp.ClientError, OSError) as error:
            raise SchemaUnresolved(UNREACHABLE, url, str(error) or type(error).__name__, temporary=True) from error

    def _check(self, url: str, *, private: bool, allowed: Callable[[str], None] | None) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise SchemaUnresolved(ADDRESS_NOT_ALLOWED, url, "it must begin with https:// or http://")
        if allowed is not None:
            allowed(url)
        address = literal(parts.hostname)
        if address is not None and not private:
            self._addresses.check(parts.hostname, address)


async def _body(url: str, reply: aiohttp.ClientResponse) -> bytes:
    if reply.status == 404:
        raise SchemaUnresolved(NOT_FOUND, url, "404: there is no such file, subject or version")
    if reply.status == 429 or reply.status >= 500:
        raise SchemaUnresolved(UNREACHABLE, url, f"it answers {reply.status}", temporary=True)
    if reply.status != 200:
        raise SchemaUnresolved(REGISTRY_REFUSED, url, f"it answers {reply.status}")
    if reply.headers.get("Content-Encoding", "identity") != "identity":
        raise SchemaUnresolved(REGISTRY_REFUSED, url, "it answers compressed, which was not asked for")
    body = bytearray()
    async for chunk in reply.content.iter_any():
        body += chunk
        if len(body) > MAX_BYTES:
            raise SchemaUnresolved(TOO_LARGE, url, f"it has more than {MAX_BYTES} bytes")
    return bytes(body)
