"""What object stores do without a server: memory of uploads, lifecycle documents, whose bucket is whose."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from prism_proxy.backends.memstore.config import MemstoreConfig
from prism_proxy.backends.objects.config import DirectoryConfig, S3Config
from prism_proxy.models.object.options import ObjectOptions
from prism_proxy.namespaces.areas import overlaps
from prism_proxy.namespaces.credentials import with_credentials
from prism_proxy.namespaces.model import NamespaceConfig, SlotConfig
from prism_proxy.object_stores.azure.settings import AzureSettings
from prism_proxy.object_stores.cloud.budget import BufferBudget
from prism_proxy.object_stores.contract import LifecycleRule
from prism_proxy.object_stores.errors import ErrorCode
from prism_proxy.object_stores.s3 import lifecycle
from prism_proxy.object_stores.s3.settings import S3Settings
from prism_proxy.secrets.options import AuthOptions, SecretsOptions
from prism_proxy.secrets.providers.file import FileOptions
from prism_proxy.steps.claim_check.options import ClaimCheckOptions, unfit
from prism_proxy.steps.resources import StepResources
from prism_proxy.testing.contracts.object_store_fixtures import refused


async def test_who_does_not_fit_waits_in_the_order_of_coming() -> None:
    budget = BufferBudget(10)
    order: list[str] = []

    async def take(name: str, size: int) -> None:
        await budget.acquire(size)
        order.append(name)

    await take("first", 8)
    large, small = asyncio.ensure_future(take("large", 9)), asyncio.ensure_future(take("small", 1))
    await asyncio.sleep(0)
    assert not budget.acquire_now(1)  # others wait
    assert order == ["first"]
    budget.release(8)
    await asyncio.gather(large, small)
    assert order == ["first", "large", "small"]


async def test_who_gives_up_waiting_leaves_no_hole() -> None:
    budget = BufferBudget(10)
    await budget.acquire(10)
    waiting = [asyncio.ensure_future(budget.acquire(size)) for size in (10, 4, 6)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    budget.release(10)
    await asyncio.gather(*waiting[1:])
    budget.release(10)
    taken = asyncio.ensure_future(budget.acquire(5))
    await asyncio.sleep(0)
    await taken
    blocked = asyncio.ensure_future(budget.acquire(10))
    await asyncio.sleep(0)
    budget.release(5)  # granted, and cancelled before it runs
    blocked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await blocked
    assert budget.acquire_now(10)


FOREIGN = (b"<Rule><ID>theirs &amp; more</ID><Filter><And><Prefix>x/</Prefix><Tag><Key>k</Key><Value>v</Value></Tag>"
           b"</And></Filter><Status>Enabled</Status><!-- kept --><FutureThing a='1'>  <Deep/> </FutureThing></Rule>")
DOCUMENT = (b"<?xml version='1.0'?>\n<LifecycleConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\n  "
            + FOREIGN + b"\n  <Rule ><ID>ours</ID><Prefix>a/</Prefix><Status>Disabled</Status>"
            b"<Expiration><Days>9</Days></Expiration></Rule >\n</LifecycleConfiguration>\n")


def test_the_rules_of_others_stay_byte_for_byte() -> None:
    assert lifecycle.rules(DOCUMENT) == [LifecycleRule("ours", "a/", 9, enabled=False)]
    changed = lifecycle.with_rule(DOCUMENT, LifecycleRule("ours", "<b>&/", 2))
    assert FOREIGN in changed
    assert lifecycle.rules(changed) == [LifecycleRule("ours", "<b>&/", 2)]
    head, tail = DOCUMENT.split(b"<Rule ><ID>ours")[0], b"\n</LifecycleConfiguration>\n"
    assert changed.startswith(head)
    assert changed.endswith(tail)
    added = lifecycle.with_rule(changed, LifecycleRule("second", "c/", 1))
    assert lifecycle.without_rule(added, "second") == changed
    assert lifecycle.without_rule(DOCUMENT, "ours") == head + tail
    assert lifecycle.without_rule(DOCUMENT, "theirs & more") == DOCUMENT.replace(FOREIGN, b"")
    assert not lifecycle.is_empty(head + tail)
    assert lifecycle.is_empty(lifecycle.EMPTY)


@pytest.mark.parametrize("document", [
    b"<LifecycleConfiguration>", b"no xml",
    b'<!DOCTYPE a [<!ENTITY b "c">]><LifecycleConfiguration></LifecycleConfiguration>'])
def test_a_document_that_cannot_be_kept_is_not_changed(document: bytes) -> None:
    with refused(ErrorCode.FAILED):
        lifecycle.with_rule(document, LifecycleRule("ours", "a/", 1))


def _namespaces(tmp_path: Path, claims: str) -> list[NamespaceConfig]:
    """Two that share a folder: one offloads payloads, the other serves objects of the bucket `media`."""
    driver = SlotConfig("directory", DirectoryConfig(tmp_path))
    store = SlotConfig("memstore", MemstoreConfig())
    groups = {"films": {"claim_check": ClaimCheckOptions(enabled=True, bucket=claims)},
              "site": {"object": ObjectOptions(("media", "images"))}, "other": {"object": ObjectOptions(("media",))}}
    return [NamespaceConfig(name, "primitives", {"store": store, "object_store": driver}, options)
            for name, options in groups.items()]


def test_objects_of_callers_and_claims_never_share_a_bucket(tmp_path: Path) -> None:
    assert list(overlaps(_namespaces(tmp_path, "claims"))) == []
    [(first, second)] = overlaps(_namespaces(tmp_path, "media"))
    assert first.owner == "namespace 'films', slot object_store"
    assert second.namespace in ("site", "other")
    own = {"claim_check": ClaimCheckOptions(enabled=True, bucket="media"), "object": ObjectOptions(("media",))}
    assert any("object.buckets" in words for words in unfit(own))


def test_one_server_has_one_name() -> None:
    names = {S3Settings(endpoint=endpoint, use_ssl=False).server for endpoint in (
        "http://127.0.0.1:9000", "localhost:9000", "http://LOCALHOST:9000/")}
    assert names == {"s3 localhost:9000"}
    assert S3Settings().server != S3Settings(endpoint="https://s3.example").server


async def test_keys_of_a_provider_become_the_access_key(tmp_path: Path) -> None:
    """Until they come the machine's own credentials are not used in their place."""
    secret = tmp_path / "media"
    resources = StepResources(SecretsOptions({"disk": FileOptions(directory=tmp_path)}, allow_core_dumps=True), {})
    slot = SlotConfig("s3", S3Config(endpoint="http://s3:9000"), auth=AuthOptions("disk", "media"))
    config = NamespaceConfig("media", "primitives", {"store": slot})
    secret.write_text('{"username": "app", "password": "s3cret"}')
    secret.chmod(0o600)
    [found] = await with_credentials([config], resources)
    store = found.slots["store"].config
    assert (store.access_key, store.secret_key, store.ambient) == ("app", "s3cret", False)
    assert "s3cret" not in repr(found)
    with pytest.raises(ValueError, match="twice"):
        store.with_credentials("other", "other")
    for settings in (S3Settings(), AzureSettings(account="shop")):
        assert settings.ambient
        assert not settings.without_credentials().ambient
    await resources.close()
