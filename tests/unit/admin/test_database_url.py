"""Which database a URN names."""

from __future__ import annotations

from pathlib import Path

import pytest

from prism_admin.storage.database_url import DatabaseUrlError, parse


def test_empty_is_the_file_in_the_home_folder(tmp_path: Path) -> None:
    found = parse("", home=tmp_path)
    assert found.path == tmp_path / ".prism" / "admin.db"
    assert (tmp_path / ".prism").stat().st_mode & 0o777 == 0o700


def test_without_a_home_it_is_a_file_here() -> None:
    assert parse("", home=Path("/proc/nowhere")).path == Path("prism-admin.db").absolute()


@pytest.mark.parametrize(("urn", "path"), [
    ("sqlite://data/admin.db", Path("data/admin.db").absolute()), ("sqlite:///var/admin.db", Path("/var/admin.db"))])
def test_sqlite_paths(urn: str, path: Path) -> None:
    assert parse(urn).path == path


@pytest.mark.parametrize("scheme", ["postgresql", "postgres"])
def test_postgresql(scheme: str) -> None:
    found = parse(f"{scheme}://ada:s3cret@db.local:5433/prism?ssl=require")
    assert found.url == "postgresql+asyncpg://ada:s3cret@db.local:5433/prism?ssl=require"
    assert found.shown == "postgresql://ada@db.local:5433/prism"
    assert found.path is None


@pytest.mark.parametrize("urn", ["mysql://ada:s3cret@db/prism", "sqlite:admin.db", "sqlite://", "admin.db"])
def test_others_are_refused_without_showing_a_password(urn: str) -> None:
    with pytest.raises(DatabaseUrlError, match="unsupported database URN") as caught:
        parse(urn)
    assert "s3cret" not in str(caught.value)
    assert "postgresql://" in str(caught.value)


@pytest.mark.parametrize("urn", ["postgresql://", "postgresql://db", "postgresql://db:port/prism"])
def test_half_a_postgresql_urn_is_refused(urn: str) -> None:
    with pytest.raises(DatabaseUrlError, match="database URN"):
        parse(urn)
