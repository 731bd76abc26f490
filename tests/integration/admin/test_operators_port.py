"""What operators see of an admin: figures, readiness, and logs that machines read."""

from __future__ import annotations

import asyncio
import json
import signal
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from prism_admin.app import STOP_GRACE_SECONDS
from tests.services.admin import AdminProcess, run
from tests.support.fake_proxy import FakeProxy, until


async def get(admin: AdminProcess, path: str) -> tuple[int, str]:
    def fetch() -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{admin.metrics_port}{path}", timeout=30) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    return await asyncio.to_thread(fetch)


def figures(page: str) -> dict[str, float]:
    """Every sample by its name and labels; a line that is not one raises."""
    return {name: float(value) for name, value in (
        line.rsplit(" ", 1) for line in page.splitlines() if not line.startswith("#"))}


async def test_figures_readiness_and_json_logs(tmp_path: Path) -> None:
    admin = await AdminProcess(f"sqlite:///{tmp_path / 'admin.db'}", "--log-format", "json").start()
    found = figures((await get(admin, "/metrics"))[1])
    assert found["prism_admin_partitions_without_owner"] == 256
    proxy = await FakeProxy("proxy-01", admin.port).start()
    await until(lambda: proxy.session.joined)
    code, _, _ = await run(
        "--endpoint", f"127.0.0.1:{admin.port}", "namespaces", "create", "orders", "--backend", "redis")
    assert code == 0
    found = figures((await get(admin, "/metrics"))[1])
    assert {name: found[f"prism_admin_{name}"] for name in (
        "partitions_without_owner", "namespaces", "partitions_moving", "stale_alarm", "storage_up",
        "audit_failures_total", 'proxies{status="healthy"}', 'proxies{status="unhealthy"}',
        'requests_total{operation="CreateNamespace",status="OK"}')} == {
        "partitions_without_owner": 0, "namespaces": 1, "partitions_moving": 0, "stale_alarm": 0, "storage_up": 1,
        "audit_failures_total": 0, 'proxies{status="healthy"}': 1, 'proxies{status="unhealthy"}': 0,
        'requests_total{operation="CreateNamespace",status="OK"}': 1}
    assert found['prism_admin_request_duration_seconds_count{operation="CreateNamespace"}'] == 1
    proxy.refuse = "not today"
    code, _, _ = await run(
        "--endpoint", f"127.0.0.1:{admin.port}", "namespaces", "create", "later", "--backend", "redis")
    assert code == 1
    assert 0 < found["process_resident_memory_bytes"] < 90e6
    assert (await get(admin, "/health"))[0] == 200
    status, body = await get(admin, "/ready")
    assert (status, json.loads(body)["proxies"]) == (200, {"healthy": 1})
    assert await admin.stop() == 0
    assert admin.stopped_s < STOP_GRACE_SECONDS  # proxies that watch the map are not waited for
    assert [json.loads(line)["event"] for line in admin.said.splitlines()][:1] == [f"serving on port {admin.port}"]
    assert "a namespace is not active yet" in admin.said
    await proxy.stop()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_either_signal_ends_it_in_order(tmp_path: Path, number: signal.Signals) -> None:
    admin = await AdminProcess(f"sqlite:///{tmp_path / 'admin.db'}").start()
    assert await admin.stop(number) == 0
    assert "Traceback" not in admin.said
