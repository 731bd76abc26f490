"""The configuration file: read strictly, every mistake reported at once with its place, and bound to typed settings."""

from __future__ import annotations

import contextlib
import pickle
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prism_proxy.backends.memstore.config import MemstoreConfig
from prism_proxy.backends.sqlite.config import SqliteConfig
from prism_proxy.configuration.loader import Configuration, load
from prism_proxy.models.keyvalue.options import KeyValueOptions
from prism_proxy.namespaces.model import NamespaceConfig, SlotConfig
from prism_runtime.configuration.problems import ConfigurationError

Read = Callable[..., Configuration]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def read(text: str, *arguments: str, environment: Mapping[str, str] | None = None) -> Configuration:
        file = tmp_path / "prism.yaml"
        file.write_text(text)
        return load(["--config", str(file), *arguments], environment or {})

    return read


@pytest.fixture
def mistakes(read: Read) -> Callable[..., list[str]]:
    """The problems of a file, without the path before the line."""

    def mistakes(text: str, *arguments: str, environment: Mapping[str, str] | None = None) -> list[str]:
        with pytest.raises(ConfigurationError) as caught:
            read(text, *arguments, environment=environment)
        return [str(problem).partition("prism.yaml:")[2] or str(problem) for problem in caught.value.problems]

    return mistakes


TEN_MISTAKES = """\
proxy:
  log_levl: debug
  log_format: xml
  limits: {header_fields: "64", idle_timeout_s: fast}
namespaces:
  orders:
    pattern: keyvalu
  events:
    backends: {store: {driver: sqllite}}
  carts:
    backends: {store: {driver: sqlite, config: {durability: some, readers: 0}}}
  carts:
    backends: {}
  users:
    backends: {stor: {driver: memstore}}
"""


def test_ten_mistakes_are_ten_reports_with_their_places(mistakes: Callable[..., list[str]]) -> None:
    found = mistakes(TEN_MISTAKES)
    assert [line.split(" ")[:2] for line in found] == [
        ["2:3:", "proxy.log_levl"], ["3:15:", "proxy.log_format"], ["4:27:", "proxy.limits.header_fields"],
        ["4:49:", "proxy.limits.idle_timeout_s"], ["7:14:", "namespaces.orders.pattern"],
        ["9:32:", "namespaces.events.backends.store.driver"],
        ["11:48:", "namespaces.carts.backends.store.config.path"],
        ["11:61:", "namespaces.carts.backends.store.config.durability"],
        ["11:76:", "namespaces.carts.backends.store.config.readers"], ["12:3:", "namespaces.carts"],
        ["15:15:", "namespaces.users.backends.store"], ["15:16:", "namespaces.users.backends.stor"]]
    for told, expected in zip(found, (
            "did you mean 'log_level'? known are", "is 'xml': it must be one of auto, json, text",
            "is the text '64': write a whole number, without quotes", "is 'fast', not a number",
            "is 'keyvalu', which is no pattern: did you mean 'keyvalue'?",
            "is 'sqllite', which is no driver: did you mean 'sqlite'?", "is missing: The database file",
            "is 'some': it must be one of synced, checkpointed", "is 0: allowed are 1 to 64 threads",
            "stands twice: first on line 10",
            "is missing: slot store of pattern primitives must be filled with a driver, one of azure, "
            "directory, gcs, memory, memstore, minio, nats, redis, s3, sqlite",
            "is 'stor', which is no slot of pattern primitives: did you mean 'store'?"),
            strict=True):
        assert expected in told


def test_a_file_names_namespaces_with_typed_settings(read: Read) -> None:
    found = read("""
proxy: {listen: ["127.0.0.1:1", "unix:/x"], metrics_listen: off, limits: {idle_timeout_s: 7}}
namespaces:
  orders:
    pattern: keyvalue
    backends: {store: {driver: memstore, config: {max_bytes: 0x400000, evict: true}}}
    keyvalue: {narrow_keys: true}
  events:
    backends:
      store:
        driver: ${ENV:DRIVER}
        config: {path: "${ENV:DATA}/events.db", busy_timeout_s: 1e1}
""", environment={"DATA": "/data", "DRIVER": "sqlite"})
    assert [str(address) for address in found.proxy.listen] == ["127.0.0.1:1", "unix:/x"]
    assert (found.proxy.metrics_listen, found.proxy.limits.idle_timeout_s) == (None, 7.0)
    assert found.namespaces == (
        NamespaceConfig("orders", "keyvalue", {"store": SlotConfig("memstore", MemstoreConfig(1 << 22, evict=True))},
                        {"keyvalue": KeyValueOptions(narrow_keys=True)}),
        NamespaceConfig.of_store("events", "sqlite", SqliteConfig("/data/events.db", busy_timeout_s=10.0)))
    assert pickle.loads(pickle.dumps(found)) == found


def test_without_namespaces_there_is_the_default_one(read: Read) -> None:
    for text in ("", "---\n", "# nothing\n", "proxy: {memory_bytes: 2097152}"):
        (only,) = read(text).namespaces
        assert (only.name, only.pattern, only.slots["store"].driver) == ("default", "primitives", "memstore")
    assert only.slots["store"].config == MemstoreConfig(max_bytes=2097152)


def test_flags_win_over_the_environment_and_it_over_the_file(read: Read) -> None:
    text = """
proxy: {log_level: error, log_format: json, listen: '127.0.0.1:1', limits: {header_fields: 9, empty_frames: 9}}
"""
    found = read(text, "--log-level", "warning", "--limit", "header_fields=11",
                 environment={"PRISM_LOG_LEVEL": "debug", "PRISM_LISTEN": "127.0.0.1:2",
                              "PRISM_LIMIT": "header_fields=10,settings_entries=10"}).proxy
    assert (found.log_level, found.log_format, str(found.listen[0])) == ("warning", "json", "127.0.0.1:2")
    assert (found.limits.header_fields, found.limits.settings_entries, found.limits.empty_frames) == (11, 10, 9)


@pytest.mark.parametrize(("text", "expected"), [
    ("a: [", "2:1: this is no YAML: did not find expected"),
    ("proxy: {}\n---\nproxy: {}\n", "2:1: a second document begins here"),
    ("- a\n", "1:1: the document must be a mapping"),
    ("prxy: {}\n", "1:1: prxy is no setting: did you mean 'proxy'?"),
    ("proxy: [1]\n", "1:8: proxy must be a mapping"),
    ("namespaces:\n", "1:12: namespaces is empty"),
    ("proxy: {workers: true}\n", "1:18: proxy.workers is 'true', not a whole number"),
    ("proxy: {workers: 1.5}\n", "1:18: proxy.workers is '1.5', not a whole number"),
    ("proxy: {workers: 1e400}\n", "1:18: proxy.workers is '1e400', not a whole number"),
    ("proxy: {limits: {max_age_s: 1e400}}\n", "1:29: proxy.limits.max_age_s is 1e400: it must be finite"),
    ("proxy: {limits: {max_age_s: .nan}}\n", "1:29: proxy.limits.max_age_s is .nan: it must be finite"),
    ("proxy: {workers: }\n", "1:18: proxy.workers is empty: write a whole number"),
    ("proxy: {workers: [1]}\n", "1:18: proxy.workers must be a whole number, not a mapping or a sequence"),
    ("proxy: {insecure: yes}\n", "1:19: proxy.insecure is 'yes': write true or false"),
    ("proxy: {insecure: 'true'}\n", "1:19: proxy.insecure is the text 'true': write true or false, without quotes"),
    ("proxy: {log_level: 5}\n", "1:20: proxy.log_level is 5, which YAML takes for a whole number: write it in quotes"),
    ("proxy: {log_level: !secret x}\n", "1:20: tags such as !secret have no meaning"),
    ("proxy: {log_level: *a}\n", "1:20: there is no anchor &a"),
    ("proxy: {<<: {}}\n", "1:9: proxy.<< is a merge key"),
    ("proxy: {[a]: 1}\n", "has a key that is no name"),
    ("proxy: {log_level: '${ENV:NOPE}'}\n", "refers to the environment variable NOPE, which is not set"),
    ("proxy: {log_level: '${NOPE}'}\n", "has '${NOPE}': write ${ENV:NAME}"),
    ("proxy: {log_level: '${ENV:A'}\n", "has '${ENV:A': write ${ENV:NAME}"),
    ("proxy: {tls: {cert: x}}\n", "1:14: proxy.tls.key is missing: Private key"),
    ("proxy: {listen: '0.0.0.0:1'}\n", "1:17: proxy.listen 0.0.0.0:1 is reachable from other machines"),
    ("proxy: {listen: []}\n", "1:17: proxy.listen is empty: name at least one address"),
    ("namespaces: {'': {}}\n", "is no name: it must be 1 to 253 printable ASCII"),
    ("namespaces: {a: 1}\n", "1:17: namespaces.a must be a mapping"),
    ("namespaces: {a: {backends: {store: {config: {}}}}}\n",
     "backends.store.driver is missing: write one of azure"),
    ("namespaces: {a: {backends: {store: {driver: sqlite, config: {path: ':memory:'}}}}}\n",
     "1:68: namespaces.a.backends.store.config.path is ':memory:': it must be the path of a file"),
    ("proxy: {memory_bytes: 2097152}\nnamespaces: {}\n", "1:23: proxy.memory_bytes bounds the namespace of a proxy"),
    ("[" * 500, "1:34: this is nested deeper than 32 levels"),
    ("[" * 200_000, "nest"),    # libyaml reads ahead, and may refuse it first, at a depth of its own
    ("a: \x00", "this is no YAML"),
])
def test_each_mistake_says_where_and_what_is_allowed(
    mistakes: Callable[..., list[str]], text: str, expected: str
) -> None:
    (only,) = mistakes(text)
    assert expected in only


def test_two_namespaces_cannot_have_one_file(mistakes: Callable[..., list[str]], tmp_path: Path) -> None:
    (tmp_path / "there").symlink_to(tmp_path)
    (only,) = mistakes(f"""
namespaces:
  a: {{backends: {{store: {{driver: sqlite, config: {{path: {tmp_path}/x.db}}}}}}}}
  b: {{backends: {{store: {{driver: sqlite, config: {{path: {tmp_path}/there/x.db}}}}}}}}
""")
    assert f"4:34: namespaces.b.backends.store.config shares file {tmp_path}/x.db with namespace 'a'" in only


def test_mistakes_of_flags_environment_and_file_come_together(mistakes: Callable[..., list[str]]) -> None:
    found = mistakes("proxy: {workers: 0}", "--log-level", "loud", environment={"PRISM_LOG_FORMAT": "xml"})
    assert [line.split(" is ")[0] for line in found] == ["PRISM_LOG_FORMAT", "1:18: proxy.workers", "--log-level"]


@pytest.mark.parametrize(("make", "expected"), [
    (lambda path: None, "No such file"), (lambda path: path.mkdir(), "Is a directory"),
    (lambda path: path.write_bytes(b"\xff"), "no UTF-8"),
])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, make: Callable[[Path], object], expected: str) -> None:
    path = tmp_path / "f.yaml"
    make(path)
    for arguments, environment, name in ((["--config", str(path)], {}, "--config"),
                                         ([], {"PRISM_CONFIG": str(path)}, "PRISM_CONFIG")):
        with pytest.raises(ConfigurationError, match=expected) as caught:
            load(arguments, environment)
        assert str(caught.value).startswith(f"{name} {path}")


# --- whatever is written ------------------------------------------------------------------------------------------

WHOLE = """\
proxy:
  listen: ["127.0.0.1:0", "unix:/x"]
  tls: {cert: c.pem, key: k.pem}
  limits: {max_message_bytes: 33554432, idle_timeout_s: 2.5}
namespaces:
  sessions: {backends: {store: {driver: memstore, config: {evict: true}}}}
  orders:
    backends: {store: {driver: sqlite, config: {path: "${ENV:A}/x.db", durability: checkpointed}}}
    resilience: {retries: {max_attempts: 2}, concurrency: {min_limit: 8, max_limit: 9}}
  cache:
    backends: {store: {driver: redis, config: {url: redis://h:1/0, mode: cluster, nodes: [a:1]}}}
"""
WORDS = st.sampled_from((
    "", "proxy", "a", "backends", "store", "driver", "config", "path", ": ", ":\n  ", "\n", "\n    ", "- ", "[", "]",
    "{", "}", ", ", "'", '"', "&x ", "*x", "!t ", "|\n", "? ", "---\n", "...", "#", "${ENV:A}", "${", "$${", "1", "-1",
    "1e9", ".nan", "true", "~", "\t", "\x00", "\u2028", "é"))
PLACES = st.integers(0, len(WHOLE))


@given(PLACES, PLACES, st.lists(WORDS, max_size=4).map("".join))
@settings(deadline=None, max_examples=250, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_is_a_configuration_or_a_list_of_mistakes(tmp_path: Path, one: int, two: int, word: str) -> None:
    file = tmp_path / "prism.yaml"
    file.write_text(WHOLE[:min(one, two)] + word + WHOLE[max(one, two):])
    with contextlib.suppress(ConfigurationError):
        load(["--config", str(file)], {"A": "1"})


def test_a_thousand_namespaces_are_read_in_a_moment(tmp_path: Path) -> None:
    file = tmp_path / "prism.yaml"
    file.write_text("namespaces:\n" + "".join(
        f"  n{number}: {{backends: {{store: {{driver: memstore}}}}}}\n" for number in range(1000)))
    began = time.process_time()
    assert len(load(["--config", str(file)], {}).namespaces) == 1000
    assert time.process_time() - began < 2.0
