"""More namespaces than one answer holds still reach their proxy."""

from __future__ import annotations

import pytest

from prism_admin import coordinator
from tests.integration.admin.cluster import Cluster
from tests.support.fake_proxy import until

NAMES = {f"tenant-{number}": 1 for number in range(60)}


async def test_what_an_answer_has_no_room_for_is_pushed(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    (first,) = await cluster.join("proxy-01")
    for name in NAMES:
        await cluster.create(name)
    await first.stop()
    cluster.proxies.remove(first)
    monkeypatch.setattr(coordinator, "ACK_BYTES", 500)
    (again,) = await cluster.join("proxy-01")  # owns the partitions already
    await until(lambda: again.serving == NAMES)
    (second,) = await cluster.join("proxy-02")  # is handed half of them
    await until(lambda: sum(second.owns(partition) for partition in range(256)) == 128)
    await until(lambda: again.serving.keys() | second.serving.keys() == NAMES.keys())
    assert set(again.revoked) <= set(second.serving)


async def test_what_an_answer_brings_is_not_pushed_again(cluster: Cluster) -> None:
    await cluster.join("proxy-01")
    for name in NAMES:
        await cluster.create(name)
    (second,) = await cluster.join("proxy-02")
    await until(lambda: sum(second.owns(partition) for partition in range(256)) == 128)
    assert second.serving
    assert second.pushed == []
