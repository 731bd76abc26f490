"""First calls through a stock grpcio client: Set and Get, and a namespace of one's own.

    python examples/first_call.py      call a proxy that runs on 127.0.0.1:8980
"""

from __future__ import annotations

import time

import grpc

from prism import control_plane_pb2 as control
from prism import control_plane_pb2_grpc
from prism.interfaces.keyvalue import keyvalue_basic_pb2 as pb
from prism.interfaces.keyvalue import keyvalue_basic_pb2_grpc as rpc

ADDRESS = "127.0.0.1:8980"
SERVICE = "prism.interfaces.keyvalue.KeyValueBasicInterface"


def first_call(address: str = ADDRESS) -> str:
    """Set a key and read it back; returns what was said, line by line."""
    with grpc.insecure_channel(address) as channel:
        keyvalue = rpc.KeyValueBasicInterfaceStub(channel)
        stored = keyvalue.Set(pb.SetRequest(key="hello", value=b"world"), timeout=5, wait_for_ready=True)
        found = keyvalue.Get(pb.GetRequest(key="hello"), timeout=5)
    return "\n".join([
        f"Set hello=world   -> success: {stored.success}",
        f"Get hello         -> found: {found.found}, value: {found.value.decode()}",
        "",
        "The same with grpcurl (bytes are base64 in JSON):",
        f"  grpcurl -plaintext -d '{{\"key\": \"hello\", \"value\": \"d29ybGQ=\"}}' {address} {SERVICE}/Set",
        f"  grpcurl -plaintext -d '{{\"key\": \"hello\"}}' {address} {SERVICE}/Get",
    ])


def durable_call(address: str = ADDRESS) -> str:
    """Read what the last start left in the namespace `durable`, and leave something for the next one."""
    metadata = [("x-namespace", "durable")]
    with grpc.insecure_channel(address) as channel:
        keyvalue = rpc.KeyValueBasicInterfaceStub(channel)
        last = keyvalue.Get(pb.GetRequest(key="started"), metadata=metadata, timeout=5)
        now = time.strftime("%Y-%m-%d %H:%M:%S")
        keyvalue.Set(pb.SetRequest(key="started", value=now.encode()), metadata=metadata, timeout=5)
    return "\n".join([
        "The namespace 'durable' keeps its data in a file; there, the last start was: "
        f"{last.value.decode() if last.found else 'none before this one'}",
        f"  grpcurl -plaintext -H 'x-namespace: durable' -d '{{\"key\": \"started\"}}' {address} {SERVICE}/Get",
    ])


def created_namespace(address: str = ADDRESS, name: str = "orders") -> str:
    """Have the admin create a namespace, by way of the proxy, and use it; the same again is the same again."""
    config = control.NamespaceConfig(backends={"store": control.BackendConfig(backend_type="memstore")})
    with grpc.insecure_channel(address) as channel:
        made = control_plane_pb2_grpc.ControlPlaneStub(channel).CreateNamespace(
            control.CreateNamespaceRequest(namespace=name, config=config), timeout=10)
        keyvalue = rpc.KeyValueBasicInterfaceStub(channel)
        metadata = [("x-namespace", name)]
        keyvalue.Set(pb.SetRequest(key="hello", value=name.encode()), metadata=metadata, timeout=5)
        found = keyvalue.Get(pb.GetRequest(key="hello"), metadata=metadata, timeout=5)
    body = f'{{"namespace": "{name}", "config": {{"backends": {{"store": {{"backend_type": "memstore"}}}}}}}}'
    return "\n".join([
        f"The admin created namespace '{name}' (partition {made.assigned_partition}) and gave it to "
        f"{made.assigned_proxy}; Get hello -> value: {found.value.decode()}",
        f"  grpcurl -plaintext -d '{body}' {address} prism.ControlPlane/CreateNamespace",
    ])


if __name__ == "__main__":
    print(first_call())
