"""Roles and rates: what a caller may do, and how often; what was refused is in the audit log."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest

from prism.admin.v1 import admin_pb2 as pb
from prism_admin.access import AccessError, RateLimiter, Rates, read_access
from prism_admin.security import Security
from tests.integration.admin.cluster import REDIS, Cluster

TOKENS = {"ada": ("admin", "ada-token"), "olga": ("operator", "olga-token"), "vera": ("viewer", "vera-token"),
          "proxies": ("proxy", "proxy-token")}


@pytest.fixture
async def guarded(cluster: Cluster, tmp_path: Path) -> Cluster:
    file = tmp_path / "access.yaml"
    file.write_text("tokens:\n" + "".join(
        f"  {name}: {{role: {role}, sha256: {hashlib.sha256(token.encode()).hexdigest()}}}\n"
        for name, (role, token) in TOKENS.items()))
    await cluster.app.stop()
    cluster.config = replace(cluster.config, security=Security(token="shared", access=read_access(file)),
                             rates=Rates(read=1000, write=5), stale_s=60.0)
    await cluster.start()
    await cluster.join("proxy-01", token="proxy-token")
    return cluster


def bearing(token: str) -> dict[str, Any]:
    return {"metadata": (("authorization", f"Bearer {token}"),), "timeout": 10}


async def code_of(call: Any) -> grpc.StatusCode:
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


async def test_each_role_may_do_its_part(guarded: Cluster) -> None:
    denied, done = grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.OK
    async with guarded.admin() as stub:
        for token, reads, writes, moves in (
                ("shared", done, done, done), ("ada-token", done, done, done), ("olga-token", done, denied, done),
                ("vera-token", done, denied, denied), ("proxy-token", denied, denied, denied)):
            assert await code_of(stub.ListProxies(pb.ListProxiesRequest(), **bearing(token))) is reads
            create = pb.CreateNamespaceRequest(name="orders", config=REDIS)
            assert await code_of(stub.CreateNamespace(create, **bearing(token))) is writes
            assert await code_of(stub.Rebalance(pb.RebalanceRequest(contiguous=True), **bearing(token))) is moves
        assert await code_of(stub.ListProxies(pb.ListProxiesRequest(), **bearing("other"))
                             ) is grpc.StatusCode.UNAUTHENTICATED
        entries = [entry async for entry in stub.GetAuditLog(
            pb.GetAuditLogRequest(actor="vera"), **bearing("ada-token"))]
    assert [(entry.operation, entry.success) for entry in entries] == [("Rebalance", False), ("CreateNamespace", False)]
    assert "it needs admin:write, and the role viewer does not have it" in entries[1].error


async def test_writes_are_limited_while_reads_pass(guarded: Cluster) -> None:
    async with guarded.admin() as stub:
        for number in range(6):
            call = stub.CreateNamespace(
                pb.CreateNamespaceRequest(name=f"ns-{number}", config=REDIS), **bearing("ada-token"))
            if number < 5:
                assert await code_of(call) is grpc.StatusCode.OK
        with pytest.raises(grpc.aio.AioRpcError, match="ada has made 5 write calls within a minute: CreateNamespace"):
            await call
        assert await code_of(stub.ListProxies(pb.ListProxiesRequest(), **bearing("ada-token"))) is grpc.StatusCode.OK
        assert await code_of(stub.CreateNamespace(  # another user has an allowance of its own
            pb.CreateNamespaceRequest(name="ns-9", config=REDIS), **bearing("shared"))) is grpc.StatusCode.OK


def test_the_default_rates_hold_over_any_minute() -> None:
    now = 0.0
    limiter = RateLimiter(Rates(), clock=lambda: now)
    method = "/prism.admin.v1.AdminService/CreateNamespace"
    assert [limiter.refuse("ada", method) for _ in range(100)] == [None] * 100
    assert "can be tried again in 60 s" in str(limiter.refuse("ada", method))
    assert limiter.refuse("ada", "/prism.admin.v1.AdminService/ListProxies") is None
    assert limiter.refuse("ada", "/prism.ControlPlane/Heartbeat") is None
    now = 59.9
    assert limiter.refuse("ada", method)
    now = 60.1
    assert limiter.refuse("ada", method) is None


@pytest.mark.parametrize(("text", "said"), [
    ("[]", "write a mapping with the keys certificates and tokens"),
    ("tokenz: {}", "write a mapping with the keys"),
    ("certificates: {ada: king}", "certificates.ada: role 'king' is not one of admin, operator, viewer, proxy"),
    ("tokens: {ada: {role: admin}}", "tokens.ada: write role and sha256"),
    ("tokens: {ada: {role: admin, sha256: abc}}", "tokens.ada.sha256: write 64 hexadecimal digits"),
    ("certificates: [ada]", "certificates: write a mapping by name"),
    ("a: [", "--access-file"),
])
def test_an_access_file_says_what_is_wrong(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "access.yaml"
    file.write_text(text)
    with pytest.raises(AccessError) as caught:
        read_access(file)
    assert said in str(caught.value)


def test_certificates_have_roles(tmp_path: Path) -> None:
    file = tmp_path / "access.yaml"
    file.write_text("certificates: {ada: admin, proxy-01: proxy}")
    access = read_access(file)
    assert [access.of_certificate(name) for name in ("ada", "proxy-01", "eve")] == ["admin", "proxy", ""]
    file.write_text("certificates: {ada: admin, '*': viewer}")
    assert read_access(file).of_certificate("eve") == "viewer"
