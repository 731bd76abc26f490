"""A first call: Set and Get through a stock grpcio client.

    python examples/first_call.py            call a proxy that runs on 127.0.0.1:8980
    python examples/first_call.py --serve    start one, call it, and keep it running until Ctrl-C
"""

from __future__ import annotations

import subprocess
import sys

import grpc

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


def serve() -> int:
    """Start a proxy, make the first call, and wait for it to end."""
    proxy = subprocess.Popen([sys.executable, "-m", "prism_proxy", "--listen", ADDRESS])
    try:
        sys.stdout.write(first_call() + f"\n\nServing on {ADDRESS}; metrics on http://127.0.0.1:9090/metrics. "
                         "Ctrl-C stops.\n")
        sys.stdout.flush()
        return proxy.wait()
    except grpc.RpcError as error:
        proxy.terminate()
        return proxy.wait() or _fail(f"the first call failed: {error}")
    except KeyboardInterrupt:
        return proxy.wait()


def _fail(message: str) -> int:
    sys.stderr.write(message + "\n")
    return 1


if __name__ == "__main__":
    if "--serve" in sys.argv[1:]:
        sys.exit(serve())
    sys.stdout.write(first_call() + "\n")
