"""What the file promises for messages, from the durability that its namespace has."""

from __future__ import annotations

import sqlite3

from prism_proxy.models.messages import Carrier, DeliveryClass, Guarantee, Traits

_LATEST = "the latest messages"


def queue_traits(durability: str) -> Traits:
    return Traits(Carrier.PARTS, _stored(durability, "arrival"))


def stream_traits(durability: str) -> Traits:
    return Traits(Carrier.PARTS, _stored(durability, "per key"), retention=frozenset({"age", "bytes", "records"}))


def topic_traits(durability: str) -> Traits:
    live = DeliveryClass(
        Guarantee.AT_MOST_ONCE, "what nobody has received", "what nobody has received", "per key",
        ("Messages of a topic with a log are stored; the others reach those who are subscribed.",))
    return Traits(Carrier.PARTS, live, durable=_stored(durability, "per key"))


def _stored(durability: str, order: str) -> DeliveryClass:
    return DeliveryClass(
        Guarantee.AT_LEAST_ONCE, "nothing", "nothing" if durability == "synced" else _LATEST, order)


def models_with_messages(connection: sqlite3.Connection) -> list[str]:
    """The models of which the file holds messages."""
    asked = {"queues": "SELECT 1 FROM message LIMIT 1", "streams": "SELECT 1 FROM log WHERE kind = 'stream' LIMIT 1",
             "topics": "SELECT 1 FROM log WHERE kind = 'topic' LIMIT 1"}
    return [model for model, query in asked.items() if connection.execute(query).fetchone() is not None]
