"""Which database a URN names."""

from __future__ import annotations

from pathlib import Path

import pytest

from prism_runtime.storage.database_url import DatabaseUrlError, parse


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


def test_the_parameters_of_libpq() -> None:
    found = parse("postgresql://ada:s3cret@db:5433/prism?sslmode=verify-full&sslrootcert=/ca.pem&connect_timeout=3"
                  "&application_name=admin&target_session_attrs=read-write")
    assert found.connect == {
        "dsn": "postgresql://ada:s3cret@db:5433/prism?sslmode=verify-full&sslrootcert=%2Fca.pem"
               "&target_session_attrs=read-write",
        "server_settings": {"application_name": "admin"}, "timeout": 3.0}
    assert "s3cret" not in repr(found)
    assert parse("postgresql://db/prism?ssl=require").connect == {"dsn": "postgresql://db/prism?sslmode=require"}


def test_a_folder_of_a_socket_and_several_hosts() -> None:
    found = parse("postgresql:///prism?host=/run/postgresql&user=ada&port=5433")
    assert found.shown == "postgresql://ada@/prism?host=/run/postgresql"
    assert parse("postgresql://%2Frun%2Fpostgresql/prism").shown == "postgresql:///run/postgresql/prism"
    assert parse("postgresql://ada@one:1,two:2,[::1]:3/prism").shown == "postgresql://ada@one:1,two:2,[::1]:3/prism"


@pytest.mark.parametrize(("urn", "said"), [
    ("postgresql://db/prism?sslmode=on", "sslmode is one of disable, allow, prefer"),
    ("postgresql://db/prism?channel_binding=require", "parameter channel_binding is not supported: remove it"),
    ("postgresql://db/prism?colour=red", "parameter colour is unknown; known are application_name"),
    ("postgresql://db/prism?sslmode=require&ssl=require", "parameter ssl stands twice"),
    ("postgresql://db/prism?connect_timeout=soon", "connect_timeout is a whole number"),
    ("postgresql://db/prism?x", "it is no URL"), ("postgresql://[db/prism", "it is no URL"),
    ("postgresql:///prism?host=/run&port=99999", "port is a number up to 65535"),
    ("postgresql://db:99999/prism", "the port is no number up to 65535"),
    ("postgresql://::1/prism", "an IPv6 address stands in brackets"),
    ("postgresql://ada:s3#cret@db/prism", "write %23"), ("postgresql://ada:s3/cret@db/prism", "%2F for a /"),
    ("postgresql://ada:s3?cret@db/prism", "write"), ("postgresql://ada:s3@cret@db/prism", "write %40"),
    ("postgresql://ada:s3cret:x@db/prism?s3cret=s3cret@", "unknown"), ("postgresql://ada:s3[cret@db/prism", "no URL"),
    ("postgresql://s3cret", "no database name"), ("s3cret:x@y", "unsupported"), ("s3cret@db://x", "unsupported"),
])
def test_a_urn_that_cannot_be_used_is_one_line_without_a_secret(urn: str, said: str) -> None:
    with pytest.raises(DatabaseUrlError) as caught:
        parse(urn)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    if not urn.endswith("s3cret=s3cret@"):  # a parameter's own name
        assert "s3" not in str(caught.value)
        assert "cret" not in str(caught.value)


@pytest.mark.parametrize("urn", ["mysql://ada:s3cret@db/prism", "sqlite:admin.db", "sqlite://", "admin.db"])
def test_others_are_refused_without_showing_a_password(urn: str) -> None:
    with pytest.raises(DatabaseUrlError, match="unsupported database URN") as caught:
        parse(urn)
    assert "s3cret" not in str(caught.value)
    assert "postgresql://" in str(caught.value)


@pytest.mark.parametrize("urn", [
    "postgresql://ada:s3cret#x@db/prism", "postgresql://ada:s3cret/x@db/prism", "postgresql://ada:s3cret?x@db/prism",
    "postgresql://ada:x@s3cret@db/prism", "postgresql://ada:s3cret", "postgresql://ada:s3cret/prism",
    "postgresql://ada:s3cret@db:99999/prism", "postgresql://ada:s3cret@[::1/prism", "postgres:ada:s3cret@db",
    "postgrsql://ada:s3cret",
])
def test_no_message_quotes_a_part_of_user_or_password(urn: str) -> None:
    with pytest.raises(DatabaseUrlError) as caught:
        parse(urn)
    assert "s3cret" not in str(caught.value)
    assert "ada" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("urn", ["postgresql://", "postgresql://db", "postgresql://db:port/prism"])
def test_half_a_postgresql_urn_is_refused(urn: str) -> None:
    with pytest.raises(DatabaseUrlError, match="database URN"):
        parse(urn)
