"""Puts jobs into a queue and works them off, each leased until it is done: a worker that dies loses no job.

    python -m examples.queue_worker [--address HOST:PORT] [--namespace NAME] [--queue NAME] [TEXT...]
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import grpc

from prism.interfaces.queue import queue_basic_pb2 as pb
from prism.interfaces.queue import queue_basic_pb2_grpc as basic_rpc
from prism.interfaces.queue import queue_visibility_pb2 as visibility
from prism.interfaces.queue import queue_visibility_pb2_grpc as visibility_rpc
from prism_runtime.standard_streams import run_command

ADDRESS = "127.0.0.1:8980"


def work(address: str, namespace: str, queue: str, texts: Sequence[str]) -> list[str]:
    """Enqueue the texts, then lease and finish jobs until the queue is empty; the jobs that were done."""
    done, metadata = [], [("x-namespace", namespace)]
    with grpc.insecure_channel(address) as channel:
        basic = basic_rpc.QueueBasicInterfaceStub(channel)
        leases = visibility_rpc.QueueVisibilityInterfaceStub(channel)
        for text in texts:
            stored = basic.Enqueue(pb.EnqueueRequest(queue=queue, payload=text.encode()), metadata=metadata, timeout=10)
            print(f"enqueued {stored.message_id}: {text}", flush=True)
        ask = visibility.DequeueWithTimeoutRequest(queue=queue, visibility_seconds=30, max_messages=10, wait_ms=500)
        while jobs := leases.DequeueWithTimeout(ask, metadata=metadata, timeout=10).messages:
            for job in jobs:
                print(f"working on {job.message_id}, delivery {job.receive_count}: {job.payload.decode()}", flush=True)
                leases.Release(visibility.ReleaseRequest(queue=queue, receipt=job.receipt, delete=True),
                               metadata=metadata, timeout=10)
                done.append(job.payload.decode())
    return done


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m examples.queue_worker", description="Work off a queue.")
    parser.add_argument("--address", default=ADDRESS)
    parser.add_argument("--namespace", default="default")
    parser.add_argument("--queue", default="mails")
    parser.add_argument("text", nargs="*", default=["a mail to Ada", "a mail to Grace"])
    options = parser.parse_args()
    work(options.address, options.namespace, options.queue, options.text)


if __name__ == "__main__":
    run_command("queue_worker", main)
