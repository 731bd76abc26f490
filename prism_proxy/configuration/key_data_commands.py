"""The commands `prism-proxy keys rewrite` and `keys retire`, which look into the stores of namespaces.

They open a namespace as a proxy does. A store that one process serves alone, such as a SQLite file, must not be served
meanwhile; one in the memory of a proxy cannot be seen from here.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any, cast

from prism_proxy import standard
from prism_proxy.configuration.key_errors import CommandError
from prism_proxy.configuration.loader import Configuration
from prism_proxy.crypto.keyring import KeyRing, KeyVersion
from prism_proxy.models.framing import encryption_of
from prism_proxy.namespaces.activator import Activator
from prism_proxy.namespaces.model import STORE, NamespaceConfig
from prism_proxy.namespaces.snapshot import Namespaces, Route
from prism_proxy.secrets.key_files import PUBLIC, KeyFiles
from prism_proxy.secrets.reference import KeyReference
from prism_proxy.steps.encrypt.rewriter import Rewriter, Rewritten
from prism_proxy.steps.encrypt.values import parse
from prism_proxy.steps.resources import StepResources

if TYPE_CHECKING:
    from prism_proxy.steps.encrypt.values import EncryptedValues

STEP = "encryption"
REPORT_SECONDS = 5.0
# interfaces of stores that keep messages or records
KEEPING = frozenset({"queue_basic", "stream_basic", "pubsub_persistent"})
PAGE = 256


def rewrite(options: argparse.Namespace, found: Configuration, environment: Mapping[str, str]) -> None:
    """Encrypt the values of a namespace under the version that encrypts now. CommandError when some are left."""
    config = next((each for each in found.namespaces if each.name == options.namespace), None)
    if config is None:
        raise CommandError(f"the configuration has no namespace {options.namespace!r}")
    if not _encrypts(config):
        raise CommandError(f"namespace {config.name!r} has no encryption that is enabled")
    result = asyncio.run(_rewrite(config, found, environment, dry_run=options.dry_run))
    would = "would be " if options.dry_run else ""
    sys.stdout.write(
        f"{result.seen} values: {result.current} are current, {result.rewritten} {would}rewritten, "
        f"{result.encrypted} {would}encrypted\n")
    if result.left:
        reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(result.failed.items()))
        plain = f"{result.plaintext} are plaintext, which encryption.required refuses" if result.plaintext else ""
        raise CommandError(f"{result.left} values are left as they are: {', '.join(filter(None, (plain, reasons)))}")


def retire(
    options: argparse.Namespace, reference: KeyReference, files: KeyFiles, found: Configuration,
    environment: Mapping[str, str],
) -> None:
    """Delete a version of a key for good, unless something may still be encrypted under it."""
    ring = files.read(reference.path)
    version = ring.find(reference.version)
    if version is None:
        known = ", ".join(each.version for each in ring.versions)
        raise CommandError(f"name the version to retire, as {reference.base}#VERSION: there are {known}")
    if not options.accept_data_loss:
        why = [*_in_flight(reference, ring, version, found), *_unseen(reference, found)]
        why += asyncio.run(_held(reference, found, environment))
        if why:
            raise CommandError(f"{reference} is needed:\n  " + "\n  ".join(why) + "\nRun `prism-proxy keys rewrite` "
                               "first, or give up what is left with --accept-data-loss")
    files.remove(reference.path, reference.version, time.time())
    sys.stdout.write(f"{reference} is deleted. Proxies forget it when they fetch the key again\n")


async def _rewrite(
    config: NamespaceConfig, found: Configuration, environment: Mapping[str, str], *, dry_run: bool
) -> Rewritten:
    told = time.monotonic()

    def report(result: Rewritten) -> None:
        nonlocal told
        if time.monotonic() - told > REPORT_SECONDS:
            told = time.monotonic()
            sys.stderr.write(f"{result.seen} values seen, {result.rewritten + result.encrypted} rewritten\n")

    async with _opened(config, found, environment) as route:
        store = _store_of(route)
        if not hasattr(store, "replace"):
            raise CommandError(f"namespace {config.name!r}: values of {store.declaration.name} cannot be rewritten")
        values = cast("EncryptedValues", route.chain.steps[STEP].values)
        return await Rewriter(store, values, dry_run=dry_run).run(report)


@contextlib.asynccontextmanager
async def _opened(
    config: NamespaceConfig, found: Configuration, environment: Mapping[str, str]
) -> AsyncIterator[Route]:
    _refuse_memory(config)
    namespaces, resources = Namespaces(), StepResources(found.proxy.secrets, environment)
    activator = Activator(namespaces, standard.make_driver, resources=resources)
    try:
        await activator.apply([config])
        yield namespaces.current.routes[config.name]
    finally:
        await activator.apply([])
        await activator.close()
        await resources.close()


def _store_of(route: Route) -> Any:
    return route.slots[STORE].driver


def _refuse_memory(config: NamespaceConfig) -> None:
    if config.slots[STORE].driver == "memstore":
        raise CommandError(f"namespace {config.name!r} keeps its data in the memory of the proxy, where this command "
                           "cannot see it: a restarted proxy has none")


def _encrypts(config: NamespaceConfig) -> bool:
    return getattr(config.options.get(STEP), "enabled", False)


def _uses(config: NamespaceConfig, reference: KeyReference) -> bool:
    options = config.options.get(STEP)
    named = (options.key_ref, options.public_key_ref, options.private_key_ref) if options is not None else ()
    return any(KeyReference.parse(text).base.removesuffix(PUBLIC) == reference.base for text in named if text)


def _in_flight(
    reference: KeyReference, ring: KeyRing, version: KeyVersion, found: Configuration
) -> list[str]:
    """Namespaces whose messages of this version may be on their way."""
    superseded = ring.superseded_at(version)
    out = []
    for config in found.namespaces:
        if _uses(config, reference) and superseded is not None:
            overlap = config.options[STEP].key_rotation.overlap_period
            left = superseded + overlap - time.time()
            if left > 0:
                out.append(f"messages of namespace {config.name!r} may be on their way for {left / 3600:.1f} h more "
                           "(key_rotation.overlap_period)")
    return out


def _unseen(reference: KeyReference, found: Configuration) -> list[str]:
    """Whoever may use the key without standing in this configuration."""
    provider = found.proxy.secrets.providers[reference.provider]
    return [f"namespaces {grant.namespaces!r} that an admin assigns may use it" for grant in provider.allow]


async def _held(reference: KeyReference, found: Configuration, environment: Mapping[str, str]) -> list[str]:
    """What the stores hold under the version."""
    out = []
    names = {f"{reference.base}#{reference.version}", f"{reference.base}{PUBLIC}#{reference.version}"}
    for config in found.namespaces:
        if not _uses(config, reference):
            continue
        try:
            async with _opened(config, found, environment) as route:
                store = _store_of(route)
                if store.declaration.interfaces & KEEPING and not hasattr(store, "kept_messages"):
                    raise CommandError(f"namespace {config.name!r}: this command cannot see what messages and records "
                                       f"{store.declaration.name} keeps")
                counts = await count(store, names)
        except CommandError as error:
            out.append(str(error))
            continue
        out += [f"namespace {config.name!r} holds {number} {what} under it" for what, number in counts.items()]
    return out


async def count(store: Any, key_ids: set[str]) -> Counter[str]:
    """How many values and messages of a store are encrypted under one of these key ids, by kind."""
    found: Counter[str] = Counter()
    cursor: bytes | None = None
    while "keyvalue_scan" in store.declaration.interfaces:
        page = await store.scan(b"", cursor, PAGE, values=True)
        for _, stored in page.items:
            parsed = parse(stored) if stored is not None else None
            found["values"] += parsed is not None and parsed[0].key_id in key_ids
        cursor = page.cursor
        if cursor is None:
            break
    if hasattr(store, "kept_messages"):
        async for message in store.kept_messages():
            encryption = encryption_of(message.data, message.headers)
            found["messages and records"] += encryption is not None and encryption.key_id in key_ids
    return +found


