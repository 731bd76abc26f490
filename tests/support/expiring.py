"""A value that expires, as a caller makes one: Set, then Expire."""

from __future__ import annotations

from typing import Any


async def set_expiring(driver: Any, key: bytes, value: bytes, ttl: float) -> None:
    await driver.set(key, value)
    assert await driver.expire(key, ttl)
