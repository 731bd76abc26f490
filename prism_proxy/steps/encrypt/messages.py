"""Encrypted messages: what is published is sealed, what is delivered is opened.

The AAD is message id, topic and namespace, so a payload opens as the message that it was published as, nowhere else.
A dead letter opens by the queue or stream that it says it comes from, and only where dead letters of that name lie.

Whether a message that does not open is at fault, or the keys are, decides what becomes of it: see `StepFailure`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from fnmatch import fnmatchcase

from prism_proxy.contracts.steps import PassingMessage
from prism_proxy.crypto.message import bind
from prism_proxy.errors import PrismError, StatusCode
from prism_proxy.secrets.key_store import RETRY_SECONDS
from prism_proxy.steps.encrypt.cipher import NamespaceCipher
from prism_proxy.steps.encrypt.errors import plaintext_message, plaintext_refused, unknown_dead_letters
from prism_proxy.steps.encrypt.usage import Usage

OFFLOAD_BYTES = 1024 * 1024  # about 0.3 ms of encryption
DEAD_LETTER_SUFFIX = ".dlq"
# reasons that speak of this proxy's keys and not of the message: the same message opens when they are set right
_KEYS_AT_FAULT = frozenset({"KEY_NOT_FOUND", "KEY_DENIED", "KEY_PROVIDER_UNKNOWN"})


class EncryptedMessages:
    """`dead_letters` are names of queues and streams that hold dead letters, with * as a wildcard."""

    def __init__(self, namespace: str, cipher: NamespaceCipher, usage: Usage, *, required: bool, bound: bool,
                 dead_letters: Sequence[str]) -> None:
        self._namespace = namespace.encode()
        self._cipher = cipher
        self._usage = usage
        self._required = required
        self._bound = bound
        self._dead_letters = tuple(dead_letters)

    async def publish(self, message: PassingMessage) -> None:
        """PrismError: the message cannot be encrypted, and is not published."""
        aad = self._aad(message.message_id, message.topic)
        if len(message.payload) > OFFLOAD_BYTES:
            sealed = await asyncio.to_thread(self._cipher.seal, message.payload, aad)
        else:
            sealed = self._cipher.seal(message.payload, aad)
        message.payload, message.encryption = sealed

    async def consume(self, message: PassingMessage) -> None:
        """PrismError: the message cannot be opened, or not now."""
        found = message.encryption
        if found is None:
            self._usage.plaintext(message.message_id, refused=self._required)
            if self._required:
                raise plaintext_message()
            return
        if not self._cipher.can_read:
            raise _later(self._cipher.no_private_key(found.key_id))
        aads = [self._aad(message.message_id, topic) for topic in self._topics(message)]
        aad = found.aad if found.aad in aads else aads[0]
        kept = message.kept or bool(message.source)
        try:
            message.payload = await self._cipher.open_message(
                message.payload, found, aad or b"", in_flight=not kept, message_id=message.message_id,
                in_thread=len(message.payload) > OFFLOAD_BYTES)
        except PrismError as error:
            raise (_later(error) if error.reason in _KEYS_AT_FAULT else error) from error
        message.encryption = None

    def admit(self, message: PassingMessage) -> None:
        """An envelope that a client made itself is encrypted already, under a key that its readers have."""
        found = message.encryption
        if found is None:
            raise plaintext_refused("the envelope is not encrypted, which this namespace requires of clients that make "
                                    "envelopes: encrypt its payload, or publish the payload without an envelope")
        self._cipher.check_known(found)

    def check_dead_letters(self, name: str) -> None:
        """PrismError: what is moved to the queue of this name would not open there."""
        if not self._holds_dead_letters(name):
            raise unknown_dead_letters(name, self._dead_letters)

    def _aad(self, message_id: str, topic: str) -> bytes:
        return bind(message_id.encode(), topic.encode(), self._namespace) if self._bound else b""

    def _topics(self, message: PassingMessage) -> list[str]:
        """Where the message may have been published: here, or where a dead letter comes from, which may be dead letters
        itself."""
        found, source = [message.topic], message.source
        if source and self._holds_dead_letters(message.topic):
            found.append(source)
            while source.endswith(DEAD_LETTER_SUFFIX):
                source = source.removesuffix(DEAD_LETTER_SUFFIX)
                found.append(source)
        return found

    def _holds_dead_letters(self, name: str) -> bool:
        return any(fnmatchcase(name, pattern) for pattern in self._dead_letters)


def _later(error: PrismError) -> PrismError:
    """As a reason to wait: nothing is wrong with the message."""
    code = StatusCode.UNAVAILABLE if error.reason in _KEYS_AT_FAULT else error.code
    return PrismError(code, error.reason, error.message, error.metadata, retry_after=error.retry_after or RETRY_SECONDS)
