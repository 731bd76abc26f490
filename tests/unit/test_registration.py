"""Services are registered without their code; it is imported when a call needs it."""

from __future__ import annotations

import subprocess
import sys

import grpc

from prism_proxy.interfaces.catalogue import interface, namespaced, of_third_party, served
from prism_proxy.interfaces.registration import Services

IDLE = """
import sys
from prism_proxy.interfaces.registration import Services
from prism_proxy.server.server import Server

services = Services(Server(), lambda name: None)
print(sorted(name for name in sys.modules if "servicers" in name or name.startswith("prism.interfaces.keyvalue.")))
services.load_messages()
print("prism.interfaces.keyvalue.keyvalue_cas_pb2" in sys.modules)
"""


class Registered:
    """What a server is given."""

    def __init__(self) -> None:
        self.handlers: dict[str, grpc.RpcMethodHandler] = {}  # type: ignore[type-arg]
        self.generic: list[grpc.GenericRpcHandler] = []  # type: ignore[type-arg]

    def add_native_handler(self) -> None:
        """It is a server of ours."""

    def add_registered_method_handlers(
        self, service: str, handlers: dict[str, grpc.RpcMethodHandler]  # type: ignore[type-arg]
    ) -> None:
        self.handlers |= {f"/{service}/{name}": handler for name, handler in handlers.items()}

    def add_generic_rpc_handlers(self, handlers: tuple[grpc.GenericRpcHandler]) -> None:  # type: ignore[type-arg]
        self.generic += handlers


def test_an_idle_process_imports_neither_servicers_nor_messages() -> None:
    told = subprocess.run([sys.executable, "-c", IDLE], capture_output=True, text=True, check=True).stdout
    assert told.splitlines() == ["[]", "True"]


async def test_a_handler_parses_serves_and_serializes() -> None:
    server = Registered()

    class Route:
        namespace, backend, elsewhere, interfaces = "default", "fake", None, frozenset({"keyvalue_basic"})

        def implementation(self, name: str) -> object:
            return self if name == "keyvalue_basic" else None

        async def get(self, key: str, caller: object) -> bytes:
            return key.encode()

    class Context:
        def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
            return (("x-namespace", "default"),)

    Services(server, lambda name: Route())
    handler = server.handlers["/prism.interfaces.keyvalue.KeyValueBasicInterface/Get"]
    request = handler.request_deserializer(b"\x0a\x03key")
    reply = await handler.unary_unary(request, Context())
    assert handler.response_serializer(reply) == b"\x08\x01\x12\x03key"


def test_every_method_has_a_handler_of_its_kind() -> None:
    server = Registered()
    Services(server, lambda name: None)
    for found in served():
        for method in found.methods:
            handler = server.handlers[found.path(method.name)]
            assert (handler.request_streaming, handler.response_streaming) == (
                method.request_streams, method.reply_streams)
            assert namespaced(found.path(method.name))


def test_what_nobody_knows_is_nobodys() -> None:
    assert interface("time_travel") is None
    assert of_third_party("shop.Orders") is None
    assert not namespaced("/shop.Orders/Get")
    assert not namespaced("/grpc.health.v1.Health/Check")
