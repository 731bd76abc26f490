"""Messages that pass the claim check step.

    publish: payload > threshold -> object, pending -> claim in place of the payload -> ... the backend acknowledges ->
             the object is not pending any more, and only then the publisher hears of it
    consume: claim -> checked -> fetched, verified -> payload; or left as it is where the receiver wants it so
    settled: the object is deleted, where the message had one reader
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from prism_proxy.claim_check import keys
from prism_proxy.claim_check.claim import HEADER, Claim, decode
from prism_proxy.contracts.steps import Offloaded, PassingMessage
from prism_proxy.errors import PrismError, StatusCode, invalid
from prism_proxy.object_stores.transfer import with_ttl
from prism_proxy.steps.claim_check.cleanup import Cleanup
from prism_proxy.steps.claim_check.payloads import Payloads, Place
from prism_runtime import log

OVERHEAD = 4096  # of a message beside its payload, at a backend that takes no larger ones
CONFIRM_TRIES = 4
CONFIRM_RETRY_S = 0.1
CLAIM_ID, CLAIM_TOPIC, CLAIM_SIZE, CLAIM_FETCH = (
    "prism-claim-id", "prism-claim-topic", "prism-claim-size", "prism-claim-fetch")
FETCH = "/prism.interfaces.payload.PayloadInterface/Fetch"
DEAD_LETTER_SUFFIX = ".dlq"
_Known = tuple[bytes, str, str, str]
_COUNTED = frozenset({"CLAIM_CORRUPT", "CLAIM_CHECKSUM_MISMATCH"})


class ClaimMessages:
    """Of one namespace: a `MessageFollower`."""

    def __init__(self, payloads: Payloads, cleanup: Cleanup) -> None:
        self._payloads = payloads
        self._cleanup = cleanup
        self._options = payloads.options
        self._fetching: dict[_Known, asyncio.Task[bytes]] = {}
        self.max_bytes = self._options.max_bytes
        self.inline_bytes = self._options.max_inline_bytes
        self.only_group = self._options.ttl.only_group
        self.only_durable = self._options.ttl.only_durable

    # --- publish ------------------------------------------------------------------------------------------------------

    def admit(self, message: PassingMessage) -> None:
        """An envelope that a client made does not carry a claim: only a proxy makes those."""
        if HEADER in message.headers:
            raise invalid("payload", "an envelope with a claim cannot be published: publish the payload, and the proxy "
                          "makes its claim")

    async def publish(self, message: PassingMessage) -> None:
        if isinstance(message.payload, Offloaded):
            made = message.payload
            made.passed = True  # from here on the message's end decides about its object
            message.payload = bytes(made)  # native code takes no other kind of bytes
            self._mark(message, made.token)
            return
        threshold = self._options.threshold
        if message.limit:
            threshold = min(threshold, max(message.limit - OVERHEAD, 0))
        if len(message.payload) <= threshold:
            return
        self.check_delay(message.waits_s)
        claim = await self._payloads.put(
            Place(message.topic, message.message_id), message.payload, message.content_type)
        self._attach(message, claim)

    def check_delay(self, seconds: float) -> None:
        longest = self._options.ttl.max_age
        if seconds >= longest:
            raise invalid("delay_seconds", f"the message waits for {seconds:g} s, and its payload would be gone after "
                          f"claim_check.ttl.max_age, {longest:g} s: deliver it earlier, or raise the setting")

    def _attach(self, message: PassingMessage, claim: Claim) -> None:
        """From here on the claim is what passes."""
        message.payload = claim.encode()
        self._mark(message, f"{keys.part(message.topic)}/{claim.claim_id}")

    def _mark(self, message: PassingMessage, token: str) -> None:
        message.headers[HEADER] = "true"
        message.token = token

    async def stored(self, message: PassingMessage) -> None:
        if not message.token:
            return
        for tried in range(1, CONFIRM_TRIES + 1):
            try:
                await self._payloads.store.set_tags(self._key(message), with_ttl({}, self._options.ttl.max_age))
                return
            except PrismError as error:
                if tried == CONFIRM_TRIES or error.reason == "OBJECT_NOT_FOUND":
                    raise PrismError(
                        StatusCode.UNAVAILABLE, "CLAIM_NOT_CONFIRMED",
                        "the message is at the broker, but the object store did not confirm that it keeps the payload: "
                        f"{error.message}", {"outcome": "unknown"}) from error
                await asyncio.sleep(CONFIRM_RETRY_S * 2 ** tried)

    async def dropped(self, message: PassingMessage, *, unknown: bool) -> None:
        """Of a message that the backend may have, the object stays: a sweep takes it after max_age."""
        if not message.token:
            return
        if unknown:
            self._cleanup.keep(self._key(message), self._options.ttl.max_age)
        else:
            self._cleanup.delete(self._key(message))

    def _key(self, message: PassingMessage) -> str:
        return keys.prefix(self._payloads.namespace) + message.token

    # --- consume ------------------------------------------------------------------------------------------------------

    async def consume(self, message: PassingMessage) -> None:
        if HEADER not in message.headers:
            return
        try:
            data, claim = message.payload, decode(message.payload)
            topic = self._owner(message, claim)
            claim.check(self._payloads.namespace, topic, self._payloads.store.bucket, self._options.max_bytes)
            message.token = f"{keys.part(topic)}/{claim.claim_id}"
            most = message.inline_bytes if message.inline_bytes >= 0 else self.inline_bytes
            if claim.original_size > most:
                self._refer(message, claim, topic)
            else:
                message.payload = await self._fetched(data, claim, topic, message)
            if claim.content_type:
                message.added.setdefault("prism-content-type", claim.content_type)
        except PrismError as error:
            if error.reason in _COUNTED:
                self._payloads.figures.reject(error.reason)
            raise

    def _owner(self, message: PassingMessage, claim: Claim) -> str:
        """Under which topic the object is. A dead letter's is that from which it comes, or from which that came."""
        topic = message.source or message.topic
        while message.source and topic.endswith(DEAD_LETTER_SUFFIX) and (
                keys.key(self._payloads.namespace, topic, claim.claim_id) != claim.object_key):
            topic = topic.removesuffix(DEAD_LETTER_SUFFIX)
        return topic or message.topic

    def _refer(self, message: PassingMessage, claim: Claim, topic: str) -> None:
        self._payloads.figures.referenced += 1
        message.added.update({HEADER: "true", CLAIM_ID: claim.claim_id, CLAIM_TOPIC: topic,
                              CLAIM_SIZE: str(claim.original_size), CLAIM_FETCH: FETCH})

    async def _fetched(self, data: bytes, claim: Claim, topic: str, message: PassingMessage) -> bytes:
        """One retrieval serves all who ask for the same payload meanwhile."""
        known = (data, topic, message.message_id, message.topic)
        task = self._fetching.get(known)
        if task is None:
            places = self._payloads.locations(claim, topic, message.topic)
            task = self._fetching[known] = asyncio.get_running_loop().create_task(
                self._payloads.get(claim, Place(topic, message.message_id), places))
            task.add_done_callback(self._forgotten(known))
        return await asyncio.shield(task)

    def _forgotten(self, known: _Known) -> Callable[[asyncio.Task[bytes]], None]:
        def forget(task: asyncio.Task[bytes]) -> None:
            self._fetching.pop(known, None)
            if not task.cancelled():
                task.exception()  # those who wait have it; if nobody does, nobody need hear

        return forget

    async def dying(self, message: PassingMessage) -> None:
        """Copy the object to where it outlives the message's life in its queue: the message cannot be changed on its
        way to the dead letters, and finds the copy by its own claim."""
        if not message.token or message.source:
            return
        own = self._key(message)
        dead = f"{keys.DEAD}/{own}"
        try:
            if not await self._payloads.store.exists(dead):
                await self._payloads.store.copy(own, dead, with_ttl({}, self._options.ttl.dead_letters))
                self._payloads.figures.copied += 1
        except PrismError as error:
            log.get("prism.claim_check").warning(
                "the payload of a message that may become a dead letter was not copied: it can be read until "
                "ttl.max_age", namespace=self._payloads.namespace, topic=message.topic, error=error.message)

    async def settled(self, topic: str, token: str) -> None:
        """A client can write into its receipt what it likes: it deletes nothing of another queue."""
        name, _, claim_id = token.partition("/")
        if not self._options.ttl.delete_after_read or not keys.is_claim_id(claim_id):
            return
        owners = {topic, topic.removesuffix(DEAD_LETTER_SUFFIX)} - {""}
        if name in {keys.part(owner) for owner in owners}:
            await self._cleanup.settled(token)

    async def close(self) -> None:
        for task in list(self._fetching.values()):
            task.cancel()
