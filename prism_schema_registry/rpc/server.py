"""The gRPC port, on the product's native server: the only module that imports it, see docs/decisions."""

from __future__ import annotations

from prism.schema.v1 import schema_registry_pb2_grpc as rpc
from prism_proxy._native.grpc.reply_cache import ReplyCache
from prism_proxy.server.server import Server
from prism_runtime.address import Address
from prism_runtime.tls import TlsConfig
from prism_schema_registry.access import Access
from prism_schema_registry.governed import Governed
from prism_schema_registry.metrics import Metrics
from prism_schema_registry.registry import Registry
from prism_schema_registry.rpc.servicer import SchemaRegistry


class GrpcServer:
    """`url` is what schema URLs begin with."""

    def __init__(self, registry: Registry, access: Access, metrics: Metrics, url: str) -> None:
        self._server = Server()
        replies = ReplyCache(access.asks)
        registry.catalog.on_change.append(replies.clear)
        metrics.count_cached("get_version", lambda: replies.hits)
        self._server.keep_replies("/prism.schema.v1.SchemaRegistryService/GetSchema", replies)
        servicer = SchemaRegistry(Governed(registry), access, metrics, url, replies)
        rpc.add_SchemaRegistryServiceServicer_to_server(servicer, self._server)  # type: ignore[no-untyped-call]

    async def start(self, address: Address, tls: TlsConfig | None) -> int:
        """Listen; returns the port. OSError when it is taken."""
        port = self._server.bind(address, tls)
        await self._server.start()
        return port

    async def stop(self, grace: float) -> None:
        await self._server.stop(grace)
