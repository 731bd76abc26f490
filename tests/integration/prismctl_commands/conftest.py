"""A registry, and the command against it, within this process: a start of its own takes longer than all it does."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from unittest import mock

import pytest

from prism_schema_registry.app import App
from prism_schema_registry.options import RegistryOptions
from prismctl import main

Run = Callable[..., Awaitable[tuple[int, str, str]]]


@pytest.fixture
async def registry() -> AsyncIterator[str]:
    """Its URL."""
    app = App(RegistryOptions(memory=True, port=0, grpc_listen="off", metrics_listen="off"))
    await app.start()
    yield f"http://127.0.0.1:{app.port}"
    await app.stop()


@pytest.fixture
def run(registry: str) -> Run:
    """`await run("schema", …)` gives (exit code, output, errors) of `prismctl`."""

    def call(arguments: tuple[str, ...], environment: dict[str, str]) -> tuple[int, str, str]:
        output, errors = io.StringIO(), io.StringIO()
        with mock.patch.dict(os.environ, {"SCHEMA_REGISTRY_URL": registry, **environment}), \
                contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
            code = main.run(list(arguments))
        return code, output.getvalue(), errors.getvalue()

    async def beside(*arguments: str, **environment: str) -> tuple[int, str, str]:
        return await asyncio.to_thread(call, arguments, environment)

    return beside
