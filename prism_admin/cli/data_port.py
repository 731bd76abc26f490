"""Calls to the data port of a proxy: what operators do with data is done where applications do it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import grpc
import typer

from prism.admin.v1 import admin_pb2 as pb
from prism_admin.cli.connection import Endpoint, fail

CALL_SECONDS = 60.0
ALIVE = ("healthy", "unknown")
Proxy = Annotated[str, typer.Option("--proxy", envvar="PRISM_PROXY", help="HOST:PORT of a proxy; by default one that "
                                    "the admin knows, which passes the call on to the owner")]


def data_call(
    endpoint: Endpoint, proxy: str, namespace: str, stub_class: Callable[[grpc.Channel], Any],
    make: Callable[[Any, dict[str, Any]], Any],
) -> Any:
    """`make(stub, options)` does the call. Ends the command with exit code 1 when it fails."""
    address = proxy or _some_proxy(endpoint)
    metadata = [("x-namespace", namespace)]
    try:
        with endpoint.channel(address) as channel:
            return make(stub_class(channel), {"timeout": CALL_SECONDS, "metadata": metadata})
    except grpc.RpcError as error:
        raise fail(f"{error.code().name} from the proxy at {address}: {error.details()}") from None


def _some_proxy(endpoint: Endpoint) -> str:
    answer = endpoint.call(lambda stub, options: stub.ListProxies(pb.ListProxiesRequest(), **options))
    for found in answer.proxies:
        if found.status in ALIVE and found.address:
            return str(found.address)
    raise fail("the admin knows no proxy that lives: name one with --proxy")
