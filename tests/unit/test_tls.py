"""TLS files: what is accepted, what is refused by name, and that a bad set never replaces a good one."""

import os
import ssl
from pathlib import Path

import pytest

from prism_runtime.tls import PeerContexts, TlsConfig, TlsContexts, TlsError
from tests.services.certificates import write_pair


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    return write_pair(tmp_path, "server")


def test_only_tls_1_3_and_h2_are_offered(pair: tuple[Path, Path]) -> None:
    context = TlsContexts(TlsConfig(*pair)).current
    assert context.minimum_version is ssl.TLSVersion.TLSv1_3
    assert context.verify_mode is ssl.CERT_NONE


def test_a_client_ca_makes_certificates_mandatory(pair: tuple[Path, Path]) -> None:
    assert TlsContexts(TlsConfig(*pair, client_ca=pair[0])).current.verify_mode is ssl.CERT_REQUIRED


def test_unusable_files_are_named(pair: tuple[Path, Path], tmp_path: Path) -> None:
    certificate, key = pair
    other = write_pair(tmp_path, "other")
    missing, garbage = tmp_path / "missing.pem", tmp_path / "garbage.pem"
    garbage.write_text("no certificate")
    for config, named in (
        (TlsConfig(missing, key), "missing.pem"), (TlsConfig(certificate, missing), "missing.pem"),
        (TlsConfig(garbage, key), "garbage.pem"), (TlsConfig(certificate, other[1]), "other.key"),
        (TlsConfig(certificate, key, garbage), "client CA .*garbage.pem"),
        (TlsConfig(certificate, key, missing), "client CA .*missing.pem"),
    ):
        with pytest.raises(TlsError, match=named):
            TlsContexts(config)


def test_a_protected_key_is_refused_instead_of_asking_the_terminal(tmp_path: Path) -> None:
    with pytest.raises(TlsError, match=r"guarded\.key is protected by a passphrase"):
        TlsContexts(TlsConfig(*write_pair(tmp_path, "guarded", passphrase=b"secret")))
    with pytest.raises(TlsError, match=r"guarded\.key is protected by a passphrase"):
        PeerContexts(None, *write_pair(tmp_path, "guarded", passphrase=b"secret"))


def replace(path: Path, content: bytes) -> None:
    """Replace a file as deployment tools do, by renaming."""
    fresh = path.with_suffix(".new")
    fresh.write_bytes(content)
    os.replace(fresh, path)


def test_changed_files_are_loaded_and_unchanged_ones_are_not(pair: tuple[Path, Path], tmp_path: Path) -> None:
    contexts = TlsContexts(TlsConfig(*pair))
    first = contexts.current
    assert contexts.reload_if_changed() is False
    assert contexts.current is first
    for path, source in zip(pair, write_pair(tmp_path, "renewed"), strict=True):
        replace(path, source.read_bytes())
    assert contexts.reload_if_changed() is True
    assert contexts.current is not first


def test_a_bad_set_keeps_the_old_one_and_a_later_good_one_is_taken(pair: tuple[Path, Path], tmp_path: Path) -> None:
    contexts = TlsContexts(TlsConfig(*pair))
    first = contexts.current
    renewed = write_pair(tmp_path, "renewed")
    replace(pair[0], renewed[0].read_bytes())  # the key is still the old one
    with pytest.raises(TlsError, match="cannot be loaded"):
        contexts.reload_if_changed()
    assert contexts.current is first
    assert contexts.reload_if_changed() is False  # told once, not every second
    replace(pair[1], renewed[1].read_bytes())
    assert contexts.reload_if_changed() is True
    assert contexts.current is not first


def test_what_peers_are_trusted_by_is_loaded_again_as_a_set(pair: tuple[Path, Path], tmp_path: Path) -> None:
    ca = tmp_path / "ca.pem"
    ca.write_bytes(pair[0].read_bytes())
    contexts = PeerContexts(ca, *pair)
    first = contexts.current
    assert first.verify_mode is ssl.CERT_REQUIRED
    assert first.cert_store_stats()["x509"] == 1
    assert contexts.reload_if_changed() is False
    replace(ca, b"no certificate")
    with pytest.raises(TlsError, match=r"CA .*ca\.pem cannot be loaded"):
        contexts.reload_if_changed()
    assert contexts.current is first
    replace(ca, pair[0].read_bytes() + write_pair(tmp_path, "next")[0].read_bytes())
    assert contexts.reload_if_changed() is True
    assert contexts.current.cert_store_stats()["x509"] == 2, "the old one and the next"
    with pytest.raises(TlsError, match=r"missing\.pem"):
        PeerContexts(tmp_path / "missing.pem", None, None)
