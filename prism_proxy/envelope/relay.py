"""Envelopes that clients made themselves: checked, the token removed, the publisher's identity set. All else stays."""

from __future__ import annotations

import uuid

from prism_proxy._native.envelope.codec import MalformedEnvelopeError, fields
from prism_proxy.envelope import wire
from prism_proxy.envelope.errors import malformed, mismatch
from prism_proxy.envelope.reader import Envelope, in_order, read, require
from prism_proxy.errors import invalid

_PUBLISHER_ID, _PUBLISHER_TEAM, _TOKEN = 1, 2, 3


def admit(data: bytes, namespace: str, topic: str, publisher_id: str = "") -> Envelope:
    """The envelope as it may be passed on. PrismError when it is none, lacks a required field, or speaks of another
    topic or namespace than the call. A publisher that it names is replaced by the verified one, or removed."""
    try:
        envelope = read(data)
        require(envelope)
    except MalformedEnvelopeError as error:
        raise malformed(str(error)) from error
    head = envelope.head
    for field, given, wanted in (("topic", head.topic, topic), ("namespace", head.namespace, namespace)):
        if given != wanted:
            raise mismatch(field, given, wanted)
    _check_id(head.message_id)
    try:
        body = _security(head.part(4), publisher_id)
        if body == head.part(4):
            return envelope
        return read(_with_security(envelope.data, body))
    except MalformedEnvelopeError as error:
        raise malformed(str(error)) from error


def _check_id(message_id: str) -> None:
    try:
        if len(message_id) == 36 and str(uuid.UUID(message_id)) == message_id.lower():
            return
    except ValueError:
        pass
    raise invalid("message_id", "the message_id of an envelope is a UUID, such as version 7", value=message_id)


def _security(body: bytes | None, publisher_id: str) -> bytes | None:
    """None when there is nothing to say."""
    if body is None:
        return wire.text(_PUBLISHER_ID, publisher_id) or None
    kept = [part for number, part in fields(body) if number not in (_PUBLISHER_ID, _PUBLISHER_TEAM, _TOKEN)]
    return wire.text(_PUBLISHER_ID, publisher_id) + b"".join(kept)


def _with_security(data: bytes, body: bytes | None) -> bytes:
    kept = in_order(data, without=frozenset({4}))
    return kept if body is None else in_order(kept + wire.tagged(4, body))
