"""The contract suites of a driver, chosen by what it declares. A harness is a class and, where a driver needs more than
its configuration, a fixture:

    class TestMine(suites_for(MyDriver)):
        @pytest.fixture
        def driver(self, tmp_path):
            return MyDriver(MyConfig(path=str(tmp_path / "data")))

`prism_proxy.testing.plugin` has the other fixtures; name it in `pytest_plugins`. `harnesses` gives the classes for all
that a driver declares: those of messages are in a class of their own. No product is named here.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from prism_proxy import standard
from prism_proxy.contracts.driver import Declaration
from prism_proxy.testing.contracts.declaration import SUITES, DeclarationSuite
from prism_proxy.testing.contracts.keyvalue_rules import KeyValueRulesSuite
from prism_proxy.testing.contracts.keyvalue_together import KeyValueTogetherSuite
from prism_proxy.testing.contracts.queue_suites import (
    QueueBasicSuite,
    QueueBatchSuite,
    QueueDeadLetterSuite,
    QueueDelayedSuite,
    QueuePrioritySuite,
    QueueVisibilitySuite,
)
from prism_proxy.testing.contracts.serving import Way
from prism_proxy.testing.contracts.stream_suites import (
    StreamBasicSuite,
    StreamGroupsSuite,
    StreamPartitioningSuite,
    StreamReplaySuite,
    StreamRetentionSuite,
)
from prism_proxy.testing.contracts.stress import StressSuite
from prism_proxy.testing.contracts.topic_log_suites import FilteringSuite, OrderingSuite, TopicLogSuite
from prism_proxy.testing.contracts.topic_suites import PubSubBasicSuite, PubSubBatchSuite, PubSubWildcardsSuite

MESSAGING: dict[str, type] = {
    "stream_basic": StreamBasicSuite, "stream_consumer_groups": StreamGroupsSuite, "stream_replay": StreamReplaySuite,
    "stream_retention": StreamRetentionSuite, "pubsub_persistent": TopicLogSuite, "pubsub_filtering": FilteringSuite,
    "pubsub_ordering": OrderingSuite, "queue_basic": QueueBasicSuite, "queue_visibility": QueueVisibilitySuite,
    "queue_dead_letter": QueueDeadLetterSuite, "queue_priority": QueuePrioritySuite,
    "queue_delayed": QueueDelayedSuite, "queue_batch": QueueBatchSuite, "pubsub_basic": PubSubBasicSuite,
    "pubsub_wildcards": PubSubWildcardsSuite, "pubsub_batch": PubSubBatchSuite,
}
PARTITIONS = 4  # of streams in the suite of partitions
IN_PROCESS = (Way.DRIVER, Way.PATTERN, Way.REFERENCE, Way.SERVER)


def suites_for(driver: type[Any], ways: Sequence[Way] | None = None) -> type[Any]:
    """A base class with every suite of the interfaces that the driver class declares.

    `ways` are the layers that answer. By default they are all in one process for a local store, and the server, with
    native handlers where the driver has them, for a shared one; with PRISM_SOAK set all of them for both.
    """
    declared = declaration_of(driver)
    chosen = [suite for interface, suite in SUITES.items() if interface in declared.interfaces]
    if not chosen:
        raise ValueError(f"{driver.__name__} declares {', '.join(sorted(declared.interfaces)) or 'nothing'}: there are "
                         f"suites for {', '.join(sorted(SUITES | MESSAGING))}")
    bases = (DeclarationSuite, *chosen, KeyValueTogetherSuite, KeyValueRulesSuite, StressSuite)
    return type(f"SuitesOf{driver.__name__}", bases, {
        "driver_class": driver, "ways": tuple(ways) if ways is not None else _ways(driver, declared)})


def messaging_suites_for(driver: type[Any], models: Sequence[str] = ("pubsub", "queue", "stream")) -> type[Any]:
    """A base class with every suite of messages, but that of partitions, which has streams of its own."""
    declared = declaration_of(driver).interfaces
    chosen = tuple(suite for interface, suite in MESSAGING.items()
                   if interface in declared and interface.partition("_")[0] in models)
    return type(f"MessagingSuitesOf{driver.__name__}", chosen, {"driver_class": driver})


def harnesses(driver: type[Any]) -> dict[str, type[Any]]:
    """Classes for pytest by name, with every suite of what a driver declares. ValueError when there is none."""
    declared = declaration_of(driver).interfaces
    found = {}
    if not declared.isdisjoint(MESSAGING):
        found["TestMessaging"] = type("TestMessaging", (messaging_suites_for(driver),), {})
    if "stream_partitioning" in declared:
        found["TestPartitions"] = type(
            "TestPartitions", (StreamPartitioningSuite,), {"driver_class": driver, "partitions": PARTITIONS})
    if not found or not declared.isdisjoint(SUITES):
        found["TestDriver"] = type("TestDriver", (suites_for(driver),), {})
    return found


def declaration_of(driver: type[Any]) -> Declaration:
    """What a driver class declares without an instance. ValueError when only an instance knows."""
    for found in (getattr(driver, "declaration", None), getattr(config_class_of(driver), "DECLARES", None)):
        if isinstance(found, Declaration):
            return found
    raise ValueError(f"{driver.__name__} has no declaration without an instance: give it a class attribute "
                     "'declaration', or its config_class 'DECLARES'")


def config_class_of(driver: type[Any]) -> type[Any] | None:
    """The settings class of a driver; None where it has none."""
    reference = f"{driver.__module__}:{driver.__qualname__}"
    backend = next((name for name, entry in standard.BACKENDS.items() if entry.factory == reference), None)
    return standard.config_class(backend) if backend is not None else getattr(driver, "config_class", None)


def _ways(driver: type[Any], declared: Declaration) -> tuple[Way, ...]:
    if os.environ.get("PRISM_SOAK"):
        return tuple(way for way in Way if way is not Way.FORWARDED)
    if declared.state == "local":
        return IN_PROCESS
    return (Way.SERVER, Way.NATIVE) if hasattr(driver, "native_store") else (Way.SERVER,)
