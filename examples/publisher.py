"""Publishes messages with a stock grpcio client, whatever the backend of the namespace is.

    python -m examples.publisher [--address HOST:PORT] [--namespace NAME] [--topic TOPIC] [TEXT...]
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import grpc

from prism.interfaces.pubsub import pubsub_basic_pb2 as pb
from prism.interfaces.pubsub import pubsub_basic_pb2_grpc as rpc
from prism_runtime.standard_streams import run_command

ADDRESS = "127.0.0.1:8980"


def publish(address: str, namespace: str, topic: str, texts: Sequence[str]) -> None:
    """One message a text; each is accepted by the backend when its line is printed."""
    with grpc.insecure_channel(address) as channel:
        pubsub = rpc.PubSubBasicInterfaceStub(channel)
        for text in texts:
            request = pb.PublishRequest(topic=topic, payload=text.encode(), metadata={
                "prism-content-type": "text/plain", "sender": "examples.publisher"})
            accepted = pubsub.Publish(request, metadata=[("x-namespace", namespace)], timeout=10)
            print(f"published {accepted.message_id}: {text}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m examples.publisher", description="Publish messages.")
    parser.add_argument("--address", default=ADDRESS)
    parser.add_argument("--namespace", default="default")
    parser.add_argument("--topic", default="orders.new")
    parser.add_argument("text", nargs="*", default=["a first order", "a second one"])
    options = parser.parse_args()
    publish(options.address, options.namespace, options.topic, options.text)


if __name__ == "__main__":
    run_command("publisher", main)
