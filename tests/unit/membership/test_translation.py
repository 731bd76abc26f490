"""Namespaces of the wire in the proxy's form."""

from __future__ import annotations

from pathlib import Path

import pytest

from prism import control_plane_pb2 as pb
from prism_proxy.backends.redis.config import RedisConfig
from prism_proxy.backends.sqlite.config import SqliteConfig
from prism_proxy.membership.data_folder import DataFolder
from prism_proxy.membership.translation import TranslationError
from prism_proxy.membership.translation import translate as translate_within
from prism_proxy.namespaces.model import NamespaceConfig

FOLDER = Path("/data")


def translate(name: str, given: pb.NamespaceConfig) -> NamespaceConfig:
    return translate_within(name, given, DataFolder(FOLDER))


def config(backend: pb.BackendConfig, **patterns: pb.PatternConfig) -> pb.NamespaceConfig:
    return pb.NamespaceConfig(backends={"store": backend}, patterns=patterns)


def test_a_memstore_with_options_limits_and_pattern_settings() -> None:
    found = translate("orders", config(
        pb.BackendConfig(backend_type="memstore", options={"max_keys": "10", "evict": "true"}),
        kv=pb.PatternConfig(pattern_name="keyvalue", required_interfaces=["keyvalue_basic"], settings={
            "narrow_keys": "true", "limits.requests_per_second": "50"})))
    assert found.name == "orders"
    assert (found.slots["store"].config.max_keys, found.slots["store"].config.evict) == (10, True)
    assert found.options["keyvalue"].narrow_keys
    assert found.limits.requests_per_second == 50


def test_a_connection_string_is_a_url_or_a_path() -> None:
    redis = translate("a", config(pb.BackendConfig(
        backend_type="redis", connection_string="redis://cache:6379/1", credentials={"password": "s3cret"})))
    assert isinstance(redis.slots["store"].config, RedisConfig)
    assert redis.slots["store"].config.url == "redis://cache:6379/1"
    assert redis.slots["store"].config.password == "s3cret"
    sqlite = translate("b", config(pb.BackendConfig(backend_type="sqlite", connection_string="b.db")))
    assert isinstance(sqlite.slots["store"].config, SqliteConfig)
    assert sqlite.slots["store"].config.path == "/data/b.db", "within the folder of the proxy"


def test_an_object_store_beside_the_store() -> None:
    given = pb.NamespaceConfig(backends={
        "store": pb.BackendConfig(backend_type="memstore"),
        "object_store": pb.BackendConfig(backend_type="s3", connection_string="http://s3:8333", credentials={
            "access_key": "app", "secret_key": "s3cret"})},
        patterns={"p": pb.PatternConfig(settings={"object.buckets": "images,films"})})
    found = translate("media", given)
    assert found.slots["object_store"].config.url == "http://s3:8333"
    assert "s3cret" not in repr(found)
    assert found.options["object"].buckets == ("images", "films")
    folder = translate("media", config(pb.BackendConfig(backend_type="directory", connection_string="objects")))
    assert folder.slots["store"].config.path == FOLDER / "objects"


def test_commas_part_the_items_of_a_list() -> None:
    found = translate("a", config(pb.BackendConfig(
        backend_type="redis", connection_string="redis://x", options={"mode": "cluster", "nodes": "a:1, b:2"})))
    assert found.slots["store"].config.nodes == ("a:1", "b:2")
    assert found.assigned, "it uses nothing of the process that the file does not allow it"
    one = translate("a", config(pb.BackendConfig(
        backend_type="redis", connection_string="redis://x", options={"mode": "cluster", "nodes": "a:1"})))
    assert one.slots["store"].config.nodes == ("a:1",)


@pytest.mark.parametrize(("wrong", "said"), [
    (config(pb.BackendConfig(backend_type="memstor")), "did you mean 'memstore'"),
    (config(pb.BackendConfig(backend_type="memstore", options={"max_key": "1"})), "max_key is no setting"),
    (config(pb.BackendConfig(backend_type="memstore", options={"max_keys": "many"})), "max_keys"),
    (config(pb.BackendConfig(backend_type="memstore", connection_string="x:1")), "connection_string is no setting"),
    (config(pb.BackendConfig(backend_type="sqlite")), "path is missing"),
    (config(pb.BackendConfig(backend_type="sqlite", connection_string="/etc/b.db")), "--admin-data-dir"),
    (pb.NamespaceConfig(backends={"cache": pb.BackendConfig(backend_type="memstore")}), "slot of pattern primitives"),
    (pb.NamespaceConfig(), "store is missing"),
    (config(pb.BackendConfig(backend_type="memstore"), a=pb.PatternConfig(pattern_name="pubsub")), "'pubsub'"),
    (config(pb.BackendConfig(backend_type="memstore"),
            a=pb.PatternConfig(required_interfaces=["keyvalue_time_travel"])), "keyvalue_time_travel"),
    (pb.NamespaceConfig(backends={"store": pb.BackendConfig(backend_type="memstore")},
                        auth=pb.AuthConfig(enabled=True)), "auth.enabled"),
    (config(pb.BackendConfig(backend_type="s3")), "backends.store gives no credentials"),
    (config(pb.BackendConfig(backend_type="gcs")), "backends.store gives no credentials"),
    (config(pb.BackendConfig(backend_type="azure", options={"account": "a"})), "backends.store gives no credentials"),
    (config(pb.BackendConfig(backend_type="directory", connection_string="/etc/x")), "--admin-data-dir"),
])
def test_what_cannot_be_served_says_why(wrong: pb.NamespaceConfig, said: str) -> None:
    with pytest.raises(TranslationError, match=said):
        translate("orders", wrong)


def test_the_environment_is_not_read_and_secrets_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OURS", "host")
    found = translate("a", config(pb.BackendConfig(
        backend_type="redis", connection_string="redis://cache", credentials={"password": "${ENV:OURS}"})))
    assert found.slots["store"].config.password == "${ENV:OURS}"
    with pytest.raises(TranslationError) as named:
        translate("a", config(pb.BackendConfig(backend_type="${ENV:OURS}")))
    assert "host" not in str(named.value)
    with pytest.raises(TranslationError) as error:
        translate("a", config(pb.BackendConfig(
            backend_type="redis", connection_string="redis://cache", credentials={"passwort": "hunter2"})))
    assert "hunter2" not in str(error.value)
