"""No path of an assigned namespace leads out of the folder for such files."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from prism_proxy.backends.redis.config import RedisConfig
from prism_proxy.backends.server_tls import ServerTls
from prism_proxy.backends.sqlite.config import SqliteConfig
from prism_proxy.membership.data_folder import DataFolder, DataFolderError, default_folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data"


def placed(folder: Path, path: str) -> str:
    found: str = DataFolder(folder).placed(SqliteConfig(path)).path
    return found


def test_paths_begin_in_the_folder_and_may_name_it_in_full(folder: Path) -> None:
    assert placed(folder, "a.db") == str(folder / "a.db")
    assert placed(folder, "deep/../b.db") == str(folder / "b.db")
    assert placed(folder, str(folder / "c.db")) == str(folder / "c.db")


@pytest.mark.parametrize("path", [
    "/etc/passwd", "..", ".", "../a.db", "deep/../../a.db", "../data-of-others/a.db", "zero\0byte", "~/../../a.db"])
def test_paths_that_lead_out_are_refused(folder: Path, path: str) -> None:
    with pytest.raises(DataFolderError):
        placed(folder, path)


def test_links_are_followed_before_they_are_believed(folder: Path, tmp_path: Path) -> None:
    folder.mkdir()
    (folder / "out").symlink_to(tmp_path)
    (folder / "within").symlink_to(folder / "deep")
    (folder / "loop").symlink_to(folder / "loop")
    with pytest.raises(DataFolderError, match="--admin-data-dir"):
        placed(folder, "out/a.db")
    assert placed(folder, "within/a.db") == str(folder / "deep" / "a.db")
    (tmp_path / "link").symlink_to(folder)
    assert placed(tmp_path / "link", "a.db") == str(folder / "a.db"), "the folder itself may be a link"


def test_files_for_tls_and_sockets_are_files(folder: Path) -> None:
    files = DataFolder(folder)
    found = files.placed(RedisConfig("rediss://cache", tls=ServerTls(Path("ca.pem"), Path("c.pem"), Path("k.pem"))))
    assert found.tls == ServerTls(folder / "ca.pem", folder / "c.pem", folder / "k.pem")
    for name in ("ca_file", "cert_file", "key_file"):
        paths = {"cert_file": Path("c.pem"), "key_file": Path("k.pem"), name: Path("/etc/shadow")}
        with pytest.raises(DataFolderError, match="'/etc/shadow' leads out"):
            files.placed(RedisConfig("rediss://cache", tls=ServerTls(**paths)))
    assert files.placed(RedisConfig("unix:redis.sock?db=3")).address.path == str(folder / "redis.sock")
    assert files.placed(RedisConfig("unix:redis.sock?db=3")).database == 3
    with pytest.raises(DataFolderError, match="leads out"):
        files.placed(RedisConfig("unix:///run/docker.sock"))


@dataclass(frozen=True)
class _Group:
    certificate: Path | None = None


@dataclass(frozen=True)
class _ThirdParty:
    files: tuple[Path, ...] = ()
    named: dict[str, _Group] = field(default_factory=dict)


def test_settings_of_other_backends_are_searched_for_paths(folder: Path) -> None:
    found = DataFolder(folder).placed(_ThirdParty((Path("a"),), {"x": _Group(Path("b"))}))
    assert found == _ThirdParty((folder / "a",), {"x": _Group(folder / "b")})
    for config in (_ThirdParty((Path("a"), Path("/b"))), _ThirdParty(named={"x": _Group(Path("../c"))})):
        with pytest.raises(DataFolderError):
            DataFolder(folder).placed(config)


def test_folders_are_made_for_their_owner_alone_when_they_are_needed(folder: Path) -> None:
    files = DataFolder(folder)
    config = files.placed(SqliteConfig("deep/a.db"))
    assert not folder.exists()
    files.prepare(config)
    assert {path.stat().st_mode & 0o777 for path in (folder, folder / "deep")} == {0o700}
    (folder / "file").touch()
    with pytest.raises(DataFolderError, match="--admin-data-dir"):
        files.prepare(files.placed(SqliteConfig("file/a.db")))


def test_each_proxy_has_its_own_folder_whatever_its_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    names = ["proxy-01", "..", ".", "a/../b", "/etc", "%2E"]
    folders = [default_folder(name) for name in names]
    assert {found.resolve().parent for found in folders} == {tmp_path / ".prism" / "proxies"}
    assert len(set(folders)) == len(names)
