"""Transactions of a namespace that every worker serves: the buffer is in one of them, and calls reach it from all."""

from collections.abc import AsyncIterator, Iterator

import grpc
import pytest

from prism_proxy.contracts.driver import Declaration
from prism_proxy.models.keyvalue import contract as keyvalue
from prism_proxy.testing.clock import RealClock
from prism_proxy.testing.contracts.subject import Refused
from prism_proxy.testing.contracts.wire_subject import WireSubject
from tests.integration.test_workers_contracts import RotatingChannel
from tests.services.proxy import ProxyProcess, proxy
from tests.services.workers import WorkersProcess, install_backend, running

DECLARATION = Declaration("pretend", keyvalue.ALL, state="shared", durability="volatile")
# A backend of someone else's that says its state is shared. It is not, so a key tells which worker was asked.
DRIVER = """
from prism_proxy.backends.memstore.config import MemstoreConfig
from prism_proxy.backends.memstore.driver import MemstoreDriver
from prism_proxy.models.keyvalue import contract as keyvalue
from prism_proxy.contracts.driver import Declaration

class Pretend(MemstoreDriver):
    config_class = MemstoreConfig
    declaration = Declaration("pretend", keyvalue.ALL, state="shared", durability="volatile")
"""
ATTEMPTS = 8  # over connections to different workers


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProxyProcess]:
    folder = tmp_path_factory.mktemp("pretend")
    install_backend(folder, "pretend", DRIVER, "Pretend")
    file = folder / "prism.yaml"
    file.write_text("namespaces: {shared: {backends: {store: {driver: pretend}}}}\n")
    with running(proxy("--workers", "3", "--config", str(file), environment={"PYTHONPATH": str(folder)})) as found:
        yield found


@pytest.fixture
async def store(process: ProxyProcess) -> AsyncIterator[WireSubject]:
    channel = RotatingChannel(process.address)
    yield WireSubject(channel, "shared", DECLARATION, RealClock().wait)  # type: ignore[arg-type]
    await channel.close()


def worker_of(transaction: str) -> str:
    return transaction.partition(".")[0]


async def begun_anew(process: ProxyProcess) -> str:
    """A transaction begun over a new connection, so in any of the workers."""
    channel = RotatingChannel(process.address)
    try:
        subject = WireSubject(channel, "shared", DECLARATION, RealClock().wait)  # type: ignore[arg-type]
        return await subject.begin()
    finally:
        await channel.close()


async def test_a_transaction_is_one_from_whichever_worker_it_is_used(process: ProxyProcess, store: WireSubject) -> None:
    seen = set()
    for attempt in range(2 * ATTEMPTS):
        transaction = await begun_anew(process)
        seen.add(worker_of(transaction))
        for index in range(6):
            await store.set_in_transaction(transaction, f"key-{attempt}-{index}", b"value")
            assert await store.get_in_transaction(transaction, f"key-{attempt}-{index}") == b"value"
        assert await store.commit(transaction) == 6
        for end in (store.commit, store.rollback):
            with pytest.raises(Refused) as caught:
                await end(transaction)
            assert (caught.value.code, caught.value.reason) == (grpc.StatusCode.ABORTED, "TRANSACTION_ENDED")
    assert len(seen) > 1, "every transaction was begun in the same worker"


async def test_errors_come_through_as_they_are(store: WireSubject) -> None:
    transaction = await store.begin()
    for _ in range(ATTEMPTS):
        with pytest.raises(Refused) as caught:
            await store.set_in_transaction(transaction, "", b"value")
        assert caught.value.code is grpc.StatusCode.INVALID_ARGUMENT
        assert caught.value.field == "key"
    assert await store.rollback(transaction) == 0


async def test_handles_of_workers_that_never_were_are_lost(store: WireSubject) -> None:
    for handle in ("local-77.00000000." + 32 * "0", "local-2.00000000." + 32 * "0"):
        for _ in range(ATTEMPTS):
            with pytest.raises(Refused) as caught:
                await store.commit(handle)
            assert (caught.value.code, caught.value.reason) == (grpc.StatusCode.ABORTED, "TRANSACTION_LOST")
    with pytest.raises(Refused) as caught:
        await store.commit("nonsense")
    assert caught.value.code is grpc.StatusCode.INVALID_ARGUMENT


async def test_what_a_dead_worker_held_is_aborted(process: ProxyProcess, store: WireSubject) -> None:
    begun = [await store.begin() for _ in range(ATTEMPTS)]
    victim = int(worker_of(begun[0]).rpartition("-")[2])
    fleet = WorkersProcess(process)
    await fleet.kill(victim)
    await fleet.until_serving(restarts=1)
    channel = RotatingChannel(process.address)  # those before may have been connected to the victim
    after = WireSubject(channel, "shared", DECLARATION, RealClock().wait)  # type: ignore[arg-type]
    for transaction in begun:
        if worker_of(transaction) == f"local-{victim}":
            with pytest.raises(Refused) as caught:
                await after.commit(transaction)
            assert (caught.value.code, caught.value.reason) == (grpc.StatusCode.ABORTED, "TRANSACTION_LOST")
        else:
            assert await after.commit(transaction) == 0
    await channel.close()
