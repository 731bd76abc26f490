"""A first call: Set and Get through a stock grpcio client.

    python examples/first_call.py            call a proxy that runs on 127.0.0.1:8980
    python examples/first_call.py --serve    start one with examples/run.yaml, call it, and keep it running until Ctrl-C
"""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import grpc

from prism.interfaces.keyvalue import keyvalue_basic_pb2 as pb
from prism.interfaces.keyvalue import keyvalue_basic_pb2_grpc as rpc

ADDRESS = "127.0.0.1:8980"
METRICS = "127.0.0.1:9090"
CONFIG = Path(__file__).with_name("run.yaml")
DATA = Path(".prism")  # where run.yaml keeps its file
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
        f"The namespace 'durable' keeps its data in {DATA}/durable.db; there, the last start was: "
        f"{last.value.decode() if last.found else 'none before this one'}",
        f"  grpcurl -plaintext -H 'x-namespace: durable' -d '{{\"key\": \"started\"}}' {address} {SERVICE}/Get",
    ])


def serve() -> int:
    """Start a proxy, make the first call, and wait for the proxy to end; its exit code."""
    for name, address in (("the proxy", ADDRESS), ("metrics", METRICS)):
        if _answers(address):
            return _fail(f"{address} is taken, and {name} needs it: stop what listens there, or start "
                         ".venv/bin/prism-proxy with other addresses (--listen, --metrics-listen)")
    # In a session of its own, so that Ctrl-C and a kill of this process reach it the same way, and once.
    DATA.mkdir(mode=0o700, exist_ok=True)
    proxy = subprocess.Popen([sys.executable, "-m", "prism_proxy", "--config", str(CONFIG), "--listen", ADDRESS,
                              "--metrics-listen", METRICS], start_new_session=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        while not _answers(ADDRESS):
            if proxy.poll() is not None:
                return proxy.returncode  # it has said why
            time.sleep(0.02)
        print(f"{first_call()}\n\n{durable_call()}")
        print(f"\nServing on {ADDRESS}, metrics on http://{METRICS}/metrics. Ctrl-C stops.", flush=True)
        while proxy.poll() is None:
            time.sleep(0.1)  # not wait(): a signal that comes just before it would be seen only after the proxy's end
        return proxy.returncode
    except grpc.RpcError as error:
        proxy.terminate()
        proxy.wait()
        return _fail(f"the first call failed: {error}")
    except KeyboardInterrupt:
        proxy.terminate()  # it drains
        return proxy.wait()


def _answers(address: str) -> bool:
    host, port = address.rsplit(":", 1)
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0


def _fail(message: str) -> int:
    print(f"first_call: {message}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    if "--serve" in sys.argv[1:]:
        sys.exit(serve())
    print(first_call())
