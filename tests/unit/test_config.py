"""The command line: flags over environment over defaults, and one clear line for what cannot be used."""

from collections.abc import Mapping, Sequence

import pytest

from prism_proxy.configuration.loader import load
from prism_proxy.process_config import ProxyConfig
from prism_proxy.server.limits import Limits
from prism_runtime.configuration.problems import ConfigurationError


def parse(flags: Sequence[str], environment: Mapping[str, str]) -> ProxyConfig:
    return load(flags, environment).proxy


def test_defaults_need_nothing() -> None:
    config = parse([], {})
    assert [str(address) for address in config.listen] == ["127.0.0.1:8980"]
    assert str(config.metrics_listen) == "127.0.0.1:9090"
    assert (config.tls, config.limits, config.reuse_port) == (None, Limits(), False)
    assert (config.memory_bytes, config.log_level, config.log_format) == (256 * 1024 * 1024, "info", "auto")


def test_flags_win_over_the_environment_and_it_over_defaults() -> None:
    environment = {
        "PRISM_LISTEN": "127.0.0.1:1, unix:/run/p.sock", "PRISM_METRICS_LISTEN": "off", "PRISM_LOG_LEVEL": "debug",
        "PRISM_LIMIT": "header_fields=64,idle_timeout_s=1.5", "PRISM_DRAIN_TIMEOUT_SECONDS": "7",
        "PRISM_MEMORY_BYTES": "2097152", "PRISM_REUSE_PORT": "true",
    }
    config = parse([], environment)
    assert [str(address) for address in config.listen] == ["127.0.0.1:1", "unix:/run/p.sock"]
    assert (config.metrics_listen, config.log_level, config.memory_bytes) == (None, "debug", 2097152)
    assert config.limits == Limits(header_fields=64, idle_timeout_s=1.5, drain_timeout_s=7)
    assert config.reuse_port
    flags = ["--listen", "[::1]:2", "--listen", "127.0.0.1:3", "--metrics-listen", "127.0.0.1:0",
             "--log-level", "error", "--limit", "header_fields=32", "--drain-timeout", "0.5"]
    config = parse(flags, environment)
    assert [str(address) for address in config.listen] == ["[::1]:2", "127.0.0.1:3"]
    assert str(config.metrics_listen) == "127.0.0.1:0"
    assert (config.log_level, config.limits) == (
        "error", Limits(header_fields=32, idle_timeout_s=1.5, drain_timeout_s=0.5))


def test_empty_variables_count_as_unset() -> None:
    names = ("LISTEN", "METRICS_LISTEN", "LIMIT", "LOG_LEVEL", "MEMORY_BYTES", "INSECURE", "TLS_CERT",
             "DRAIN_TIMEOUT_SECONDS")
    assert parse([], {f"PRISM_{name}": "" for name in names}) == parse([], {})


@pytest.mark.parametrize(("flags", "environment", "message"), [
    (["--listen", "nonsense"], {}, r"--listen cannot be used: address 'nonsense' is not HOST:PORT"),
    (["--listen", "::1:80"], {}, r"--listen cannot be used: .*brackets"),
    ([], {"PRISM_LISTEN": "x"}, r"PRISM_LISTEN cannot be used: address 'x'"),
    (["--metrics-listen", "9090"], {}, r"--metrics-listen cannot be used: address '9090'"),
    (["--log-level", "loud"], {}, r"--log-level is 'loud': it must be one of debug, info, warning, error"),
    ([], {"PRISM_LOG_FORMAT": "xml"}, r"PRISM_LOG_FORMAT is 'xml': it must be one of auto, json, text"),
    (["--limit", "nosuch=1"], {}, r"--limit nosuch is no setting: .*known are .*header_fields"),
    (["--limit", "header_fields"], {}, r"--limit 'header_fields': write NAME=VALUE"),
    (["--limit", "header_fields=many"], {}, r"--limit header_fields is 'many', not a whole number"),
    (["--limit", "header_fields=1.5"], {}, r"--limit header_fields is '1.5', not a whole number"),
    (["--limit", "header_fields=0"], {}, r"limit header_fields is 0: allowed are 8 to"),
    ([], {"PRISM_LIMIT": "nosuch=1"}, r"PRISM_LIMIT nosuch is no setting"),
    (["--drain-timeout", "soon"], {}, r"--drain-timeout is 'soon', not a number"),
    (["--drain-timeout", "-1"], {}, r"--drain-timeout is -1.0: allowed are 0 to"),
    (["--drain-timeout", "nan"], {}, r"--drain-timeout is 'nan', not a number"),
    ([], {"PRISM_DRAIN_TIMEOUT_SECONDS": "soon"}, r"PRISM_DRAIN_TIMEOUT_SECONDS is 'soon', not a number"),
    (["--memory-bytes", "1G"], {}, r"--memory-bytes is '1G', not a whole number"),
    (["--memory-bytes", "1024"], {}, r"--memory-bytes is 1024: it must be at least 1048576"),
    (["--tls-cert", "c"], {}, r"--tls-key is missing"),
    (["--tls-key", "k"], {}, r"--tls-cert is missing"),
    (["--tls-client-ca", "ca"], {}, r"--tls-cert is missing.*\n--tls-key is missing"),
    (["--listen", "0.0.0.0:1"], {}, r"--listen 0.0.0.0:1 is reachable from other machines.*--insecure"),
    (["--listen", "127.0.0.1:1", "--listen", ":2"], {}, r"--listen 0.0.0.0:2 is reachable"),
    ([], {"PRISM_LISTEN": "[::]:1"}, r"PRISM_LISTEN \[::\]:1 is reachable"),
    (["--listen", ":1"], {"PRISM_INSECURE": "maybe"}, r"PRISM_INSECURE is 'maybe': write true or false"),
    (["--listen", ":1"], {"PRISM_INSECURE": "false"}, r"is reachable from other machines"),
])
def test_what_cannot_be_used_is_named(flags: list[str], environment: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message) as caught:
        parse(flags, environment)
    assert str(caught.value).count("\n") == message.count("\\n")


@pytest.mark.parametrize(("flags", "environment"), [
    (["--insecure"], {}), ([], {"PRISM_INSECURE": "1"}), (["--tls-cert", "c", "--tls-key", "k"], {}),
    ([], {"PRISM_TLS_CERT": "c", "PRISM_TLS_KEY": "k"}),
])
def test_other_machines_are_served_with_tls_or_on_request(flags: list[str], environment: dict[str, str]) -> None:
    assert str(parse([*flags, "--listen", "0.0.0.0:1"], environment).listen[0]) == "0.0.0.0:1"


@pytest.mark.parametrize("flags", [["--nonsense"], ["--insec"], ["positional"], ["--listen"]])
def test_wrong_usage_exits_1_with_one_line(flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse(flags, {})
    assert caught.value.code == 1
    errors = capsys.readouterr().err
    assert errors.startswith("prism-proxy: ")
    assert errors.count("\n") == 1


def test_help_names_every_flag_and_a_first_call(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse(["--help"], {})
    assert caught.value.code == 0
    text = capsys.readouterr().out
    for part in ("--listen", "--metrics-listen", "--tls-cert", "--tls-client-ca", "--insecure", "--limit",
                 "grpcurl", "--drain-timeout", "--log-format", "PRISM_METRICS_LISTEN", "PRISM_DRAIN_TIMEOUT_SECONDS",
                 "Exit codes"):
        assert part in text
