"""First calls through a stock grpcio client: Set and Get, a message, a job, and a namespace of one's own.

    python examples/first_call.py      call a proxy that runs on 127.0.0.1:8980
"""

from __future__ import annotations

import time

import grpc

from prism import control_plane_pb2 as control
from prism import control_plane_pb2_grpc
from prism.interfaces.keyvalue import keyvalue_basic_pb2 as pb
from prism.interfaces.keyvalue import keyvalue_basic_pb2_grpc as rpc
from prism.interfaces.pubsub import pubsub_basic_pb2 as pubsub
from prism.interfaces.pubsub import pubsub_basic_pb2_grpc as pubsub_rpc
from prism.interfaces.queue import queue_basic_pb2 as queue
from prism.interfaces.queue import queue_basic_pb2_grpc as queue_rpc
from prism.interfaces.queue import queue_visibility_pb2 as visibility
from prism.interfaces.queue import queue_visibility_pb2_grpc as visibility_rpc

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


def first_message(address: str = ADDRESS, topic: str = "orders.new") -> str:
    """Subscribe, publish, and read what arrives."""
    with grpc.insecure_channel(address) as channel:
        stub = pubsub_rpc.PubSubBasicInterfaceStub(channel)
        messages = stub.Subscribe(pubsub.SubscribeRequest(topic=topic), timeout=10)
        messages.initial_metadata()  # the subscription is active
        stub.Publish(pubsub.PublishRequest(topic=topic, payload=b"a first order"), timeout=5)
        arrived = next(messages)
        messages.cancel()
    return "\n".join([
        f"Publish to {topic} -> its subscriber received: {arrived.payload.decode()}",
        "  python -m examples.subscriber     in one terminal, and in another:",
        "  python -m examples.publisher",
    ])


def first_job(address: str = ADDRESS, name: str = "mails") -> str:
    """Put a job into the queue of the durable namespace, lease it and finish it."""
    metadata = [("x-namespace", "durable")]
    with grpc.insecure_channel(address) as channel:
        queue_rpc.QueueBasicInterfaceStub(channel).Enqueue(
            queue.EnqueueRequest(queue=name, payload=b"a mail to Ada"), metadata=metadata, timeout=5)
        leases = visibility_rpc.QueueVisibilityInterfaceStub(channel)
        jobs = leases.DequeueWithTimeout(visibility.DequeueWithTimeoutRequest(
            queue=name, visibility_seconds=30, wait_ms=1000), metadata=metadata, timeout=5).messages
        for job in jobs:
            leases.Release(visibility.ReleaseRequest(queue=name, receipt=job.receipt, delete=True), metadata=metadata,
                           timeout=5)
    return "\n".join([
        f"Enqueue to {name}, synced to disk -> leased and finished: {', '.join(job.payload.decode() for job in jobs)}",
        "  python -m examples.queue_worker --namespace durable",
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
