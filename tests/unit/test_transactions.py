"""Open transactions: limits, deadlines and handles, on a clock that the tests move."""

from __future__ import annotations

import asyncio

import pytest

from prism_proxy.errors import PrismError, StatusCode
from prism_proxy.models.keyvalue import transactions as rules
from prism_proxy.models.keyvalue.transactions import Transactions


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def transactions(clock: Clock) -> Transactions:
    return Transactions("proxy-7", clock, lambda: 1_700_000_000.0)


def reason(call: object, *arguments: object) -> str:
    with pytest.raises(PrismError) as caught:
        call(*arguments)  # type: ignore[operator]
    return caught.value.reason


async def test_begin_says_when_it_ends(transactions: Transactions) -> None:
    assert transactions.begin(0, 0)[1] == 1_700_000_030_000
    assert transactions.begin(1500, 0)[1] == 1_700_000_001_500
    assert transactions.begin(300_000, 0)[1] == 1_700_000_300_000


async def test_a_handle_names_process_and_epoch_and_cannot_be_guessed(transactions: Transactions) -> None:
    first, second = transactions.begin(0, 0)[0], transactions.begin(0, 0)[0]
    process, epoch, secret = first.split(".")
    assert process == "proxy-7"
    assert second.startswith(f"proxy-7.{epoch}.")
    assert len(secret) == 32
    assert secret not in second


async def test_the_deadline_holds_even_when_timers_run_late(transactions: Transactions, clock: Clock) -> None:
    handle, _ = transactions.begin(2000, 0)
    clock.now += 1.999
    transactions.find(handle)
    clock.now += 0.001
    assert reason(transactions.find, handle) == "TRANSACTION_ENDED"
    assert len(transactions) == 0


async def test_an_abandoned_transaction_frees_its_buffer(transactions: Transactions) -> None:
    transactions.begin(1, 0)
    transactions.begin(60_000, 0)
    ended = asyncio.Event()
    asyncio.get_running_loop().call_later(0.02, ended.set)
    await ended.wait()
    assert len(transactions) == 1


async def test_at_most_a_thousand_are_open(transactions: Transactions) -> None:
    handles = [transactions.begin(0, 0)[0] for _ in range(rules.MAX_OPEN)]
    with pytest.raises(PrismError) as caught:
        transactions.begin(0, 0)
    assert (caught.value.code, caught.value.reason) == (StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_TRANSACTIONS")
    assert caught.value.retry_after
    transactions.take(handles[0])
    transactions.begin(0, 0)


async def test_a_handle_is_used_up_once(transactions: Transactions) -> None:
    handle, _ = transactions.begin(0, 0)
    transactions.take(handle)
    assert reason(transactions.take, handle) == "TRANSACTION_ENDED"


async def test_handles_of_another_epoch_are_lost_and_nonsense_is_invalid(transactions: Transactions) -> None:
    before_restart = Transactions("proxy-7").begin(0, 0)[0]
    with pytest.raises(PrismError) as caught:
        transactions.find(before_restart)
    assert (caught.value.code, caught.value.reason) == (StatusCode.ABORTED, "TRANSACTION_LOST")
    for nonsense in ("", "x", "a.b.c", before_restart + "0", before_restart.upper()):
        assert reason(transactions.find, nonsense) == "INVALID_TRANSACTION_ID"


async def test_buffers_count_keys_values_and_reads(transactions: Transactions) -> None:
    transaction = transactions.find(transactions.begin(0, 0)[0])
    transaction.write(b"key", b"x" * 100)
    transaction.write(b"key", b"x" * 10)
    assert transaction.buffered == rules.ENTRY_BYTES + 3 + 10
    transaction.read(b"other", 1)
    transaction.read(b"other", 1)
    assert transaction.buffered == 2 * rules.ENTRY_BYTES + 3 + 10 + 5
    left = rules.MAX_BUFFER_BYTES - transaction.buffered - rules.ENTRY_BYTES - 1
    assert reason(transaction.write, b"k", bytes(left + 1)) == "TRANSACTION_TOO_LARGE"
    transaction.write(b"k", bytes(left))
    assert reason(transaction.read, b"r", 1) == "TRANSACTION_TOO_LARGE"


async def test_reads_and_writes_are_bounded_in_number(transactions: Transactions) -> None:
    transaction = transactions.find(transactions.begin(0, 0)[0])
    for index in range(rules.MAX_KEYS // 2):
        transaction.write(b"w%d" % index, b"")
        transaction.read(b"r%d" % index, 1)
    assert reason(transaction.write, b"last", b"") == "TRANSACTION_TOO_LARGE"
    assert reason(transaction.read, b"last", 1) == "TRANSACTION_TOO_LARGE"
    transaction.write(b"w0", b"again")
    transaction.read(b"r0", 1)


async def test_all_buffers_together_are_bounded_and_given_back(transactions: Transactions) -> None:
    each = bytes(rules.MAX_BUFFER_BYTES - rules.ENTRY_BYTES - 1)  # one object: the account is of lengths
    handles = [transactions.begin(0, 0)[0] for _ in range(rules.MAX_BUFFERED_BYTES // rules.MAX_BUFFER_BYTES)]
    for handle in handles:
        transactions.find(handle).write(b"k", each)
    one_more = transactions.find(transactions.begin(0, 0)[0])
    with pytest.raises(PrismError) as caught:
        one_more.write(b"k", b"")
    assert (caught.value.reason, caught.value.retry_after) == ("TOO_MANY_TRANSACTIONS", 1.0)
    transactions.take(handles[0])
    one_more.write(b"k", each)
    transactions.close()
    transactions.find(transactions.begin(0, 0)[0]).write(b"k", each)


async def test_a_key_read_in_two_versions_dooms_it(transactions: Transactions) -> None:
    transaction = transactions.find(transactions.begin(0, 0)[0])
    transaction.read(b"key", 4)
    assert reason(transaction.read, b"key", 5) == "TRANSACTION_CONFLICT"
    assert reason(transaction.check) == "TRANSACTION_CONFLICT"


async def test_a_conflict_is_not_marked_retryable(transactions: Transactions) -> None:
    """A retry policy of the client would repeat Commit, which cannot succeed."""
    assert transactions.find(transactions.begin(0, 0)[0]).conflict().retry_after is None


async def test_close_ends_all(transactions: Transactions) -> None:
    handle, _ = transactions.begin(0, 0)
    transactions.close()
    assert len(transactions) == 0
    assert reason(transactions.find, handle) == "TRANSACTION_ENDED"
