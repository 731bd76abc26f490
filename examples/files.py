"""Sends a file of any size through a queue, and receives it: in pieces, so that neither side holds it in memory.

    python -m examples.files send FILE [--address HOST:PORT] [--namespace NAME] [--queue NAME]
    python -m examples.files receive FOLDER [--address HOST:PORT] [--namespace NAME] [--queue NAME]

examples/files.yaml configures a proxy for it. A transfer that breaks goes on where it broke; a file gets its name when
all of it has arrived.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc

from prism.interfaces.payload import payload_pb2 as payload
from prism.interfaces.payload import payload_pb2_grpc as payload_rpc
from prism.interfaces.queue import queue_visibility_pb2 as queues
from prism.interfaces.queue import queue_visibility_pb2_grpc as queue_rpc
from prism_runtime.standard_streams import run_command

ADDRESS = "127.0.0.1:8980"
PIECE = 512 * 1024
TRIES = 5


def show(verb: str, name: str, done: int, size: int) -> None:
    """The progress, on one line."""
    width = 30
    full = width * done // size if size else width
    print(f"\r{verb} {name} [{'#' * full}{'.' * (width - full)}] {done:,} of {size:,} bytes", end="", file=sys.stderr)


def send(channel: grpc.Channel, path: Path, queue: str, metadata: Any) -> str:
    """The message id."""
    size = path.stat().st_size

    def pieces() -> Iterator[payload.PublishPayloadRequest]:
        yield payload.PublishPayloadRequest(head=payload.PayloadHead(
            queue=queue, size=size, metadata={"file-name": path.name}))
        done = 0
        with path.open("rb") as file:
            while data := file.read(PIECE):
                yield payload.PublishPayloadRequest(chunk=data)
                done += len(data)
                show("sending", path.name, done, size)

    sent = payload_rpc.PayloadInterfaceStub(channel).Publish(pieces(), metadata=metadata)
    print(file=sys.stderr)
    print(f"sent {path.name} as {sent.message_id}, sha-256 {sent.checksum.hex()}", flush=True)
    return sent.message_id


def receive(channel: grpc.Channel, folder: Path, queue: str, metadata: Any) -> Path | None:
    """The next file of the queue, which is deleted there once it is here; None when there is none."""
    stub = queue_rpc.QueueVisibilityInterfaceStub(channel)
    ask = queues.DequeueWithTimeoutRequest(queue=queue, max_messages=1, visibility_seconds=300, wait_ms=1000)
    messages = stub.DequeueWithTimeout(ask, metadata=metadata).messages
    if not messages:
        return None
    [message] = messages
    name = Path(message.metadata.get("file-name", message.message_id)).name
    target, partial = folder / name, folder / f".{name}.part"
    if message.metadata.get("prism-claim-check") == "true":
        fetch(payload_rpc.PayloadInterfaceStub(channel), message, partial, metadata)
    else:  # it was small enough to come with its message
        partial.write_bytes(message.payload)
    partial.rename(target)
    stub.Release(queues.ReleaseRequest(queue=queue, receipt=message.receipt, delete=True), metadata=metadata)
    print(f"received {target}, {target.stat().st_size:,} bytes", flush=True)
    return target


def fetch(stub: Any, message: Any, partial: Path, metadata: Any) -> None:
    """The payload of a message that was delivered as its claim; from where it is, when it breaks."""
    size = int(message.metadata["prism-claim-size"])
    with partial.open("wb") as file:
        for tried in range(1, TRIES + 1):
            request = payload.FetchRequest(topic=message.metadata["prism-claim-topic"], offset=file.tell(),
                                           claim_id=message.metadata["prism-claim-id"], claim=message.payload)
            try:
                for part in stub.Fetch(request, metadata=metadata):
                    file.write(part.chunk)
                    show("receiving", partial.name, file.tell(), size)
            except grpc.RpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE or tried == TRIES:
                    raise
            else:
                break
    print(file=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m examples.files", description="Send or receive files by a queue.")
    parser.add_argument("action", choices=("send", "receive"))
    parser.add_argument("path", type=Path)
    parser.add_argument("--address", default=ADDRESS)
    parser.add_argument("--namespace", default="default")
    parser.add_argument("--queue", default="files")
    options = parser.parse_args()
    with grpc.insecure_channel(options.address) as channel:
        metadata = [("x-namespace", options.namespace)]
        if options.action == "send":
            send(channel, options.path, options.queue, metadata)
        else:
            while receive(channel, options.path, options.queue, metadata) is not None:
                pass


if __name__ == "__main__":
    run_command("files", main)
