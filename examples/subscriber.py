"""Prints the messages of a topic with a stock grpcio client, whatever the backend of the namespace is.

    python -m examples.subscriber [--address HOST:PORT] [--namespace NAME] [--topic TOPIC] [--count N]

When the proxy ends the subscription because it restarts, this subscribes again: grpcio connects in the background.
"""

from __future__ import annotations

import argparse

import grpc

from prism.interfaces.pubsub import pubsub_basic_pb2 as pb
from prism.interfaces.pubsub import pubsub_basic_pb2_grpc as rpc
from prism_runtime.standard_streams import run_command

ADDRESS = "127.0.0.1:8980"


def subscribe(address: str, namespace: str, topic: str, count: int = 0) -> int:
    """Print messages until `count` came (0: for ever); how many came."""
    received = 0
    with grpc.insecure_channel(address) as channel:
        pubsub = rpc.PubSubBasicInterfaceStub(channel)
        while not count or received < count:
            messages = pubsub.Subscribe(pb.SubscribeRequest(topic=topic), metadata=[("x-namespace", namespace)],
                                        wait_for_ready=True)
            try:
                messages.initial_metadata()  # arrives as soon as the backend has the subscription
                print(f"subscribed to {topic}", flush=True)
                for message in messages:
                    received += 1
                    print(f"received {message.message_id} from {message.metadata.get('sender', 'somebody')}: "
                          f"{message.payload.decode(errors='replace')}", flush=True)
                    if received == count:
                        break
            except grpc.RpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE:
                    raise
                print(f"the subscription ended: {error.details()}", flush=True)
            finally:
                messages.cancel()
    return received


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m examples.subscriber", description="Print messages of a topic.")
    parser.add_argument("--address", default=ADDRESS)
    parser.add_argument("--namespace", default="default")
    parser.add_argument("--topic", default="orders.new")
    parser.add_argument("--count", type=int, default=0, help="end after so many messages")
    options = parser.parse_args()
    subscribe(options.address, options.namespace, options.topic, options.count)


if __name__ == "__main__":
    run_command("subscriber", main)
