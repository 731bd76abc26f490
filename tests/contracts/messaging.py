"""Serves one namespace over a built-in backend to the suites of messaging."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Any

from prism_proxy import standard
from prism_proxy.namespaces.model import DEFAULT, NamespaceConfig
from prism_proxy.testing.contracts import messaging_serving
from prism_proxy.testing.contracts.messaging_wire import Messaging


def serving(backend: str, settings: Any, *, partitions: int = 1) -> AbstractAsyncContextManager[Messaging]:
    config = NamespaceConfig.of_store(DEFAULT, backend, settings)
    return messaging_serving.serving(
        standard.make_driver(backend, config.driver_config("store")), partitions=partitions)
