"""The settings of the group `claim_check` of a namespace, and what of the other groups does not go with them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from prism_proxy.claim_check.algorithms import COMPRESSIONS, NONE, ZSTD
from prism_proxy.contracts.driver import Area
from prism_proxy.object_stores.names import BUCKET_RULE, usable_bucket
from prism_runtime.settings import check, setting

KIB, MIB, GIB = 1024, 1024**2, 1024**3
HOUR, DAY = 3600.0, 86_400.0
MAX_TTL = 3650 * DAY
OBJECT_STORE = "object_store"


@dataclass(frozen=True, slots=True)
class TtlOptions:
    """How long objects live."""

    max_age: float = setting("A payload can be read for so long after it was published; then it is collected.", DAY,
                             minimum=1, maximum=MAX_TTL, unit="s")
    delete_after_read: bool = setting(
        "Delete the object when its message is settled. Only messages of queues have one reader: payloads of topics "
        "and streams stay until max_age.", True)
    only_group: str = setting(
        "The consumer group that alone reads the streams of the namespace: what it acknowledges is settled too.", "")
    only_durable: str = setting(
        "The durable name that alone reads the topics of the namespace: what it acknowledges by AckDurable is settled "
        "too.", "")
    retention_after_read: float = setting("How long an object stays after its message was settled.", 300.0, minimum=0,
                                          maximum=MAX_TTL, unit="s")
    grace_period: float = setting("Nothing younger than this is collected.", HOUR, minimum=0, maximum=MAX_TTL, unit="s")
    dead_letters: float = setting("How long the payload of a dead letter can be read.", 30 * DAY, minimum=1,
                                  maximum=MAX_TTL, unit="s")

    def __post_init__(self) -> None:
        check(self)
        if self.retention_after_read > self.max_age:
            raise ValueError("retention_after_read is longer than max_age, after which the object is gone: lower it")


@dataclass(frozen=True, slots=True)
class ClaimCheckOptions:
    """Payloads above a size go to an object store, and a reference to them through the broker."""

    enabled: bool = setting("Offload large payloads; needs the slot object_store.", False)
    required: bool = setting("Do not activate the namespace while the object store or the bucket cannot be reached.",
                             False)
    threshold: int = setting("Payloads larger than this are offloaded, and those that the broker would not take.", MIB,
                             minimum=1, maximum=16 * MIB, unit="bytes")
    bucket: str = setting("The bucket; made when it is not there. Several namespaces may share one.", "")
    compression: str = setting("How offloaded payloads are compressed; one that does not become smaller is not.", NONE,
                               choices=COMPRESSIONS)
    stream_threshold: int = setting("Objects larger than this are uploaded in parts.", 10 * MIB, minimum=64 * KIB,
                                    maximum=GIB, unit="bytes")
    max_bytes: int = setting("The largest payload.", 50 * GIB, minimum=MIB, maximum=5120 * GIB, unit="bytes")
    max_inline_bytes: int = setting(
        "Payloads of a reply together, or of one message of a subscription, which says otherwise by an option of this "
        "name: what is larger arrives as its claim, to be fetched.", 3 * MIB, minimum=0, maximum=64 * MIB, unit="bytes")
    manage_lifecycle: bool = setting(
        "Add a lifecycle rule to a bucket that this proxy did not make; other rules in it stay as they are.", False)
    retrieval_timeout: float = setting("How long reading a payload for a delivery may take.", 30.0, minimum=0.1,
                                       maximum=HOUR, unit="s")
    deletion_timeout: float = setting("How long one deletion may take.", 10.0, minimum=0.1, maximum=HOUR, unit="s")
    upload_timeout: float = setting("How long an upload may take.", HOUR, minimum=1, maximum=7 * DAY, unit="s")
    sweep_interval: float = setting("Between two looks for objects that nothing refers to; 0 does not look.", 900.0,
                                    minimum=0, maximum=DAY, unit="s")
    ttl: TtlOptions = setting("How long objects live.", factory=TtlOptions)

    def __post_init__(self) -> None:
        check(self)
        if not self.enabled:
            if self.required:
                raise ValueError("required is set and enabled is not: set both, or none")
            return
        if not usable_bucket(self.bucket):
            raise ValueError(f"bucket {self.bucket!r} is no name of a bucket: it must be {BUCKET_RULE}"
                             if self.bucket else "bucket is missing: name the bucket that gets the payloads")
        if self.compression == ZSTD and not any(map(_installed, ("compression.zstd", "backports.zstd"))):
            raise ValueError("compression zstd needs backports.zstd: pip install 'prism-proxy[claim-check]'")

    def areas_in(self, namespace: str, slots: Mapping[str, Any]) -> tuple[str, Collection[Area]]:
        """Namespaces may share a bucket of claims, where each has keys of its own; objects that callers reach are in
        others (see `contracts.driver.Occupying`)."""
        config: Any = slots[OBJECT_STORE].config if self.enabled and OBJECT_STORE in slots else None
        server = getattr(config, "server", None)
        if server is None:
            return OBJECT_STORE, ()
        return OBJECT_STORE, [Area(f"{server}/{self.bucket}", f"{namespace}/".encode(), machine=config.of_machine)]


def _installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def disagree(first: ClaimCheckOptions, second: ClaimCheckOptions) -> Iterable[str]:
    """Why two namespaces cannot get each other's messages."""
    if first.enabled != second.enabled:
        if first.required or second.required:
            yield "one requires claim_check and the other has none: enable it in both"
        return
    if not first.enabled:
        return
    if first.ttl.max_age != second.ttl.max_age:
        yield (f"claim_check.ttl.max_age is {first.ttl.max_age:g} s here and {second.ttl.max_age:g} s there: set the "
               "same in both")
    if first.bucket != second.bucket:
        yield f"claim_check.bucket is {first.bucket!r} here and {second.bucket!r} there: set the same in both"


def unfit(options: Mapping[str, Any]) -> Iterable[str]:
    """What a namespace's other options have that payloads of this step would not outlive, or not travel with."""
    own: ClaimCheckOptions = options["claim_check"]
    longest = own.ttl.max_age
    if own.bucket in getattr(options.get("object"), "buckets", ()):
        yield f"has the bucket {own.bucket!r}, which object.buckets lists too: callers never reach claims"
    mode = getattr(options.get("envelope"), "mode", "")
    if mode == "raw":
        yield "cannot mark its messages with envelope.mode raw: use always or headers"
    queue = options.get("queue")
    if queue is not None and queue.visibility * queue.max_receives > longest:
        yield (f"ttl.max_age is {longest:g} s, and a message may be out for queue.visibility × queue.max_receives = "
               f"{queue.visibility * queue.max_receives:g} s: raise ttl.max_age")
    for group, name in (("stream", "max_age"), ("pubsub", "log_max_age")):
        kept = getattr(options.get(group), name, 0.0)
        if kept > longest:
            yield (f"ttl.max_age is {longest:g} s, and {group}.{name} keeps messages for {kept:g} s, whose payloads "
                   f"would be gone: raise ttl.max_age, or lower {group}.{name}")
