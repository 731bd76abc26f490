"""Fixtures that more than one layer of tests uses."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts import tools
from tests.services.proxy import Proxy


@pytest.fixture(scope="session")
def proxy() -> Iterator[Proxy]:
    """A running proxy with default settings, shared: tests use keys of their own."""
    with Proxy() as running:
        yield running


@pytest.fixture(scope="session")
def tool():  # type: ignore[no-untyped-def]
    """`tool(name)` gives the path of a test client, or skips the test with the reason."""

    def find(name: str) -> Path:
        found = tools.path(name)
        if found is None:
            pytest.skip(f"{name} is not built (Go is needed; see scripts/tools.py)")
        return found

    return find
