"""A server whose native handlers work on one memory store that the test holds too."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from prism_proxy.backends.memstore.driver import MemstoreDriver
from tests.support.in_process import namespaces_over, serving

GET = "/prism.interfaces.keyvalue.KeyValueBasicInterface/Get"


@contextlib.asynccontextmanager
async def served(driver: MemstoreDriver) -> AsyncIterator[int]:
    """The port. The driver is opened here, serves the namespace `default`, and is closed at the end."""
    await driver.open()
    try:
        async with serving(namespaces_over(driver, "memstore"), native=True) as found:
            yield found.port
    finally:
        await driver.close()
