"""The calls h2load and Python make are those prism_load makes and checks."""

from benchmarks import workload
from prism.interfaces.keyvalue import keyvalue_basic_pb2 as kv


def test_value_cycles_through_the_alphabet_from_the_key_number() -> None:
    assert workload.value(25, 4) == b"zabc"
    assert len(workload.value(0)) == 100


def test_framed_message_carries_flag_and_length() -> None:
    framed = workload.framed(workload.message("Get"))
    assert framed[:5] == b"\0\0\0\0\x0d"
    assert kv.GetRequest.FromString(framed[5:]).key == "key-0000000"


def test_fixed_reply_is_the_value_that_set_stores() -> None:
    stored = kv.SetRequest.FromString(workload.message("Set"))
    assert kv.GetResponse.FromString(workload.get_reply()) == kv.GetResponse(found=True, value=stored.value)
