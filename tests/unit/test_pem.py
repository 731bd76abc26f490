"""PEM files that cannot be used are named with the line that is to blame; so are the settings that name them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from prism_proxy.configuration.loader import ConfigurationSource
from prism_runtime.configuration.problems import ConfigurationError
from prism_runtime.tls import TlsError, check_files
from tests.services.admin import run
from tests.services.certificates import write_pair

Damage = Callable[[list[str]], list[str]]
DAMAGES: dict[str, tuple[Damage, str]] = {
    "cut off": (lambda lines: lines[:-1], "line 1: what begins here has no end: the file is cut off"),
    "another character": (lambda lines: [lines[0], lines[1], "?" + lines[2][1:], *lines[3:]],
                          "line 3: a character that PEM does not have"),
    "a line too short": (lambda lines: [lines[0], lines[1][:-1], *lines[2:]],
                         "line 1: what begins here is damaged"),
    "a second begin": (lambda lines: [*lines[:2], *lines], "line 3: what begins on line 1 has no end"),
    "an end alone": (lambda lines: lines[1:], "the end of something that does not begin"),
    "nothing": (lambda lines: [], "it has no"),
}


@pytest.mark.parametrize("which", ["cert", "key", "ca"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_the_line_to_blame_is_told(tmp_path: Path, which: str, damage: str) -> None:
    files = dict(zip(("cert", "key"), write_pair(tmp_path, "server"), strict=True))
    files["ca"], _ = write_pair(tmp_path, "authority")
    change, said = DAMAGES[damage]
    lines = files[which].read_text().splitlines()
    files[which].write_text("\n".join(change(lines)))
    with pytest.raises(TlsError) as caught:
        check_files(files["cert"], files["key"], files["ca"])
    assert f"{files[which]} cannot be loaded: " in str(caught.value)
    assert said in str(caught.value)
    assert caught.value.field == which


def test_files_that_are_something_else(tmp_path: Path) -> None:
    cert, key = write_pair(tmp_path, "server")
    other, _ = write_pair(tmp_path, "other")
    bad = "cannot be loaded"
    for given, said in (
            ((key, key, None), f"certificate {key} {bad}: it has no certificate, but a private key on line 1"),
            ((cert, cert, None), f"key {cert} {bad}: it has no private key, but a certificate on line 1"),
            ((other, key, None), f"certificate {other} with key {key} {bad}: the key belongs to another one"),
            ((None, None, tmp_path / "no.pem"), f"CA {tmp_path / 'no.pem'} {bad}: No such file or directory"),
            ((None, None, tmp_path), f"CA {tmp_path} cannot be loaded: Is a directory")):
        with pytest.raises(TlsError) as caught:
            check_files(*given)
        assert str(caught.value).startswith(said)
    cert.write_text("".join(["subject=/CN=x\n", cert.read_text(), "\n# a comment\n", other.read_text()]))
    check_files(cert, key, cert)  # text between the parts is nobody's business


def test_config_check_and_a_start_name_the_setting_and_its_line(tmp_path: Path) -> None:
    cert, key = write_pair(tmp_path, "server")
    other, _ = write_pair(tmp_path, "other")
    file = tmp_path / "prism.yaml"
    file.write_text(f"""proxy:
  tls:
    cert: {cert}
    key: {key}
    client_ca: {key}
  admin: {{endpoint: "a:1", proxy_id: a, advertise: "a:2", ca: {tmp_path}/no.pem}}
namespaces:
  orders:
    backends:
      store:
        driver: redis
        config:
          url: rediss://db:6379
          tls:
            cert_file: {other}
            key_file: {key}
""")
    source = ConfigurationSource({"config": str(file)}, {})
    source.load()  # when it is read again, files may be about to be replaced
    for look, lines in ((True, [5, 6, 16]), (False, [5, 6])):
        with pytest.raises(ConfigurationError) as caught:
            source.load(look=look, tls=True)
        assert [problem.origin.line for problem in caught.value.problems] == lines
    said = str(caught.value)
    assert f"prism.yaml:5:16: proxy.tls.client_ca is of no use: CA {key} cannot be loaded: it has no cert" in said
    assert f"proxy.admin.ca is of no use: CA {tmp_path}/no.pem cannot be loaded: No such file or directory" in said


async def test_the_admin_and_its_commands_name_flag_file_and_line(tmp_path: Path) -> None:
    cert, key = write_pair(tmp_path, "server")
    half = tmp_path / "half.pem"
    half.write_text("".join(cert.read_text().splitlines(keepends=True)[:4]))
    serve = ("serve", "--db", f"sqlite:///{tmp_path / 'admin.db'}", "--listen", "127.0.0.1:0")
    for arguments, said in (
            ((*serve, "--tls-cert", str(half), "--tls-key", str(key), "--metrics-listen", "off"),
             f"--tls-cert: certificate {half} cannot be loaded: line 1: "),
            ((*serve, "--push-ca", str(key), "--metrics-listen", "off"),
             f"--push-ca: CA {key} cannot be loaded: it has no certificate, but a private key on line 1"),
            (("--tls-ca", str(half), "proxies", "list"),
             f"--tls-ca: CA {half} cannot be loaded: line 1: what begins here has no end")):
        code, _, errors = await run(*arguments)
        assert code == 1
        assert errors.splitlines()[-1].startswith(f"prism-admin: {said}"), errors
