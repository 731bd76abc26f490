"""An admin and proxies on machines of their own, between which a test cuts the network: see `netns`.

Clients are on the machine of their proxy, so no cut is between the two: they use Unix sockets, which are no part of the
network.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from tests.services.admin import AdminProcess
from tests.services.cluster import QUICK, Cluster
from tests.services.netns import Network, network
from tests.services.proxy import ProxyProcess, page, proxy

TOKEN = "open sesame"
ADMIN_PORT, PROXY_PORT = 8981, 8980
BUFFER_BYTES = 64 * 1024


def machine(number: int) -> str:
    return f"proxy-{number:02}"


class Apart(Cluster):
    """`network` has the machines `admin` and `proxy-01` and so on. Made by `apart`."""

    metadata = (("authorization", f"Bearer {TOKEN}"),)

    def __init__(self, folder: Path, made: Network, arguments: Sequence[str], admin: Sequence[str]) -> None:
        token = folder / "token"
        token.write_text(TOKEN)
        super().__init__(folder, "", ("--admin-token-file", str(token), *arguments),
                         ("--insecure", "--token-file", str(token), *admin))
        self.network = made
        self._folder = folder
        self.admin = AdminProcess(self._urn, *self._admin_arguments, port=ADMIN_PORT, host=made.address("admin"),
                                  within=made.command("admin"))

    @property
    def admin_address(self) -> str:
        return f"unix:{self._folder / 'admin'}"

    async def start(self, number: int, *arguments: str) -> ProxyProcess:
        """In a folder of its own."""
        name = machine(number)
        folder = self._folder / name
        folder.mkdir(exist_ok=True)
        address = f"{self.network.address(name)}:{PROXY_PORT}"
        self.proxies[number] = await proxy(
            "--listen", address, "--listen", self.address(number), "--insecure", "--proxy-id", name,
            "--admin-endpoint", f"{self.network.address('admin')}:{ADMIN_PORT}",
            "--admin-data-dir", str(folder / "data"), *QUICK, *self._arguments, *arguments,
            folder=folder, within=self.network.command(name)).start()
        return self.proxies[number]

    def address(self, number: int) -> str:
        return f"unix:{self._folder / machine(number)}.socket"

    async def page(self, number: int, path: str) -> str:
        port = self.proxies[number].metrics_port
        connected = await self.network.connect(machine(number), "127.0.0.1", port)
        return (await page(port, path, connected))[1]

    async def let_in(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """An operator, who works on the admin's machine."""
        inside = await self.network.connect("admin", self.network.address("admin"), ADMIN_PORT)
        there, back = await asyncio.open_connection(sock=inside)
        await asyncio.gather(_pass_on(reader, back), _pass_on(there, writer))


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(BUFFER_BYTES):
            writer.write(data)
            await writer.drain()
    writer.close()


@contextlib.asynccontextmanager
async def apart(folder: Path, count: int, *arguments: str, admin: Sequence[str] = ()) -> AsyncIterator[Apart]:
    """`count` proxies, started with these arguments, which all have the same map."""
    with network("admin", *(machine(number) for number in range(1, count + 1))) as made:
        found = Apart(folder, made, arguments, admin)
        await found.admin.start()
        try:
            async with await asyncio.start_unix_server(found.let_in, folder / "admin"):
                await asyncio.gather(*(found.start(number) for number in range(1, count + 1)))
                await found.settled()
                yield found
        finally:
            await found.close()
