"""What is assigned: versions and revisions decide, in whatever order messages come."""

from __future__ import annotations

import pytest

from prism_proxy._native.runtime.crc32 import partition_of
from prism_proxy.backends.memstore.config import MemstoreConfig
from prism_proxy.membership.assignments import Assignment, Assignments
from prism_proxy.namespaces.model import NamespaceConfig


def assignment(name: str, version: int = 1, revision: int = 1) -> Assignment:
    return Assignment(NamespaceConfig.of_store(name, "memstore", MemstoreConfig()), version, revision)


def test_a_version_that_is_not_newer_is_no_news() -> None:
    found = Assignments()
    assert found.is_newer("orders", 2, 1)
    found.put([assignment("orders", version=2)])
    assert not found.is_newer("orders", 2, 1)
    assert not found.is_newer("orders", 1, 9)
    assert found.is_newer("orders", 3, 1)


def test_an_assignment_overtaken_by_its_revocation_is_refused() -> None:
    found = Assignments()
    found.put([assignment("orders", version=3, revision=10)])
    assert found.revocable("orders", 11)
    found.drop(["orders"], 11)
    with pytest.raises(ValueError, match="revoked by map 11"):
        found.is_newer("orders", 3, 10)
    assert found.is_newer("orders", 3, 12), "the partition has come back"
    assert found.is_newer("orders", 4, 11), "it was deleted and created again"


def test_a_revocation_overtaken_by_a_newer_assignment_is_refused() -> None:
    found = Assignments()
    found.put([assignment("orders", revision=12)])
    with pytest.raises(ValueError, match="older than map 12"):
        found.revocable("orders", 11)
    assert not found.revocable("unknown", 11)


def test_confirming_raises_the_revision_only() -> None:
    found = Assignments()
    found.put([assignment("orders", version=2, revision=5)])
    found.confirm("orders", 9)
    found.confirm("orders", 7)
    current = found.get("orders")
    assert current is not None
    assert (current.version, current.revision) == (2, 9)


def test_a_map_takes_what_it_gives_to_others_but_not_what_is_on_its_way_to_us() -> None:
    """A hand-over assigns a namespace by the revision of the map that will give its partition to us."""
    found = Assignments()
    found.put([assignment("orders", revision=6), assignment("default", revision=2)])
    orders, default = partition_of("orders"), partition_of("default")
    assert found.lost({default}, 5) == []
    assert found.lost({default, orders}, 6) == []
    assert found.lost({default}, 6) == ["orders"], "the hand-over came to nothing"
    assert found.lost(set(), 7) == ["orders", "default"]


def test_what_the_admin_does_not_list_of_our_partitions_is_left_over() -> None:
    found = Assignments()
    found.put([assignment("orders"), assignment("default")])
    assert found.left_over({"orders"}, range(256), complete=True) == ["default"]
    assert found.left_over({"orders"}, range(256), complete=False) == []
    assert found.left_over({"orders"}, {partition_of("orders")}, complete=True) == [], "the map will tell who has it"
