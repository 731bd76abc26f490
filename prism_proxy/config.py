"""What `prism-proxy` is told at its start: flags, then environment `PRISM_*`, then defaults.

argparse rather than a richer library, because the process must serve within a quarter of a second of its start.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from prism_proxy import __version__
from prism_proxy.server.limits import Limits
from prism_proxy.server.listener import Address
from prism_proxy.server.tls import TlsConfig

DEFAULT_LISTEN = "127.0.0.1:8980"
DEFAULT_METRICS = "127.0.0.1:9090"
DEFAULT_MEMORY_BYTES = 256 * 1024 * 1024
MAX_WORKERS = 256
MIN_MEMORY_BYTES = 1024 * 1024
_EPILOG = """\
Without further settings one namespace, 'default', keeps its data in memory.

first call (another terminal):
  grpcurl -plaintext -d '{"key": "hello", "value": "d29ybGQ="}' 127.0.0.1:8980 \\
      prism.interfaces.keyvalue.KeyValueBasicInterface/Set
  grpcurl -plaintext -d '{"key": "hello"}' 127.0.0.1:8980 \\
      prism.interfaces.keyvalue.KeyValueBasicInterface/Get

Every flag has an environment variable: --metrics-listen is PRISM_METRICS_LISTEN, repeatable ones are separated by
commas, and --drain-timeout is PRISM_DRAIN_TIMEOUT_SECONDS. Flags win over the environment.
SIGTERM or SIGINT drains: calls in progress finish. A second signal ends at once.
Exit codes: 0 clean, 1 usage or runtime error, 2 forced."""


class ConfigError(ValueError):
    """A setting cannot be used; the message names it and what to change."""


@dataclass(frozen=True, slots=True)
class ProxyConfig:
    """Settings of one proxy process."""

    listen: tuple[Address, ...]
    metrics_listen: Address | None
    tls: TlsConfig | None
    limits: Limits
    reuse_port: bool
    memory_bytes: int
    log_level: str
    log_format: str
    workers: int = 1


def parse(arguments: Sequence[str], environment: Mapping[str, str] = os.environ) -> ProxyConfig:
    """Read the settings. ConfigError for a bad value; SystemExit for --help, --version and unknown flags."""
    options = _parser().parse_args(arguments)
    return _build(_Settings(vars(options), environment))


@dataclass(frozen=True, slots=True)
class _Settings:
    """One look-up for flag and environment, so that messages can name where a value came from."""

    flags: Mapping[str, object]
    environment: Mapping[str, str]

    def text(self, name: str, default: str = "") -> str:
        value = self.flags.get(name)
        return str(value) if value is not None else self.environment.get(variable(name)) or default

    def texts(self, name: str, default: str = "") -> list[str]:
        value = self.flags.get(name)
        if isinstance(value, list) and value:
            return [str(item) for item in value]
        return [item.strip() for item in (self.environment.get(variable(name)) or default).split(",") if item.strip()]

    def yes(self, name: str) -> bool:
        text = self.environment.get(variable(name), "").lower()
        if text not in ("", "1", "true", "yes", "0", "false", "no"):
            raise ConfigError(f"{variable(name)} is {text!r}: write true or false")
        return bool(self.flags.get(name)) or text in ("1", "true", "yes")

    def source(self, name: str) -> str:
        """What the user wrote: the flag, or the variable when only that is set."""
        from_environment = not self.flags.get(name) and bool(self.environment.get(variable(name)))
        return variable(name) if from_environment else f"--{name.replace('_', '-')}"

    def number(self, name: str, kind: type[int] | type[float], default: float) -> float:
        text = self.text(name)
        try:
            return kind(text) if text else default
        except ValueError:
            wanted = "a whole number" if kind is int else "a number"
            raise ConfigError(f"{self.source(name)} is {text!r}, not {wanted}") from None

    def choice(self, name: str, allowed: Sequence[str]) -> str:
        text = self.text(name, allowed[0])
        if text not in allowed:
            raise ConfigError(f"{self.source(name)} is {text!r}: it must be one of {', '.join(sorted(allowed))}")
        return text

    def address(self, name: str, text: str) -> Address:
        try:
            return Address.parse(text)
        except ValueError as error:
            raise ConfigError(f"{self.source(name)}: {error}") from None


def variable(name: str) -> str:
    """The environment variable of a flag."""
    return "PRISM_DRAIN_TIMEOUT_SECONDS" if name == "drain_timeout" else f"PRISM_{name.upper()}"


def _build(settings: _Settings) -> ProxyConfig:
    listen = tuple(settings.address("listen", text) for text in settings.texts("listen", DEFAULT_LISTEN))
    tls = _tls(settings)
    for address in listen:
        if tls is None and not address.loopback and not settings.yes("insecure"):
            raise ConfigError(f"{settings.source('listen')} {address} is reachable from other machines and has no TLS: "
                              "give --tls-cert and --tls-key, or --insecure if the network is trusted")
    memory = int(settings.number("memory_bytes", int, DEFAULT_MEMORY_BYTES))
    if memory < MIN_MEMORY_BYTES:
        raise ConfigError(f"{settings.source('memory_bytes')} is {memory}: it must be at least {MIN_MEMORY_BYTES}")
    return ProxyConfig(
        listen=listen, metrics_listen=_metrics_address(settings), tls=tls, limits=_limits(settings),
        reuse_port=settings.yes("reuse_port"), memory_bytes=memory,
        log_level=settings.choice("log_level", ("info", "debug", "warning", "error")),
        log_format=settings.choice("log_format", ("auto", "json", "text")), workers=_workers(settings))


def _workers(settings: _Settings) -> int:
    number = int(settings.number("workers", int, 1))
    if not 1 <= number <= MAX_WORKERS:
        raise ConfigError(f"{settings.source('workers')} is {number}: it must be 1 to {MAX_WORKERS}")
    return number


def _metrics_address(settings: _Settings) -> Address | None:
    text = settings.text("metrics_listen", DEFAULT_METRICS)
    if text in ("off", "0"):
        return None
    address = settings.address("metrics_listen", text)
    if address.unix_path is not None:
        raise ConfigError(f"{settings.source('metrics_listen')} is {text!r}: it must be HOST:PORT or 'off'")
    return address


def _tls(settings: _Settings) -> TlsConfig | None:
    certificate, key, ca = (settings.text(name) for name in ("tls_cert", "tls_key", "tls_client_ca"))
    if not certificate and not key:
        if ca:
            raise ConfigError("--tls-client-ca needs --tls-cert and --tls-key")
        return None
    if not certificate or not key:
        raise ConfigError("--tls-cert and --tls-key go together")
    return TlsConfig(Path(certificate), Path(key), Path(ca) if ca else None)


def _limits(settings: _Settings) -> Limits:
    known = {item.name: item for item in dataclasses.fields(Limits)}
    values: dict[str, float] = {}
    for pair in settings.texts("limit"):
        name, separator, text = pair.partition("=")
        if name not in known or not separator:
            raise ConfigError(f"{settings.source('limit')} {pair!r}: write NAME=VALUE, with one of "
                              f"{', '.join(sorted(known))}")
        try:
            values[name] = int(text) if "int" in str(known[name].type) else float(text)
        except ValueError:
            raise ConfigError(f"{settings.source('limit')} {name}: {text!r} is not a number") from None
    if settings.text("drain_timeout"):
        values["drain_timeout_s"] = settings.number("drain_timeout", float, 0)
    try:
        return Limits(**values)  # type: ignore[arg-type]
    except ValueError as error:
        raise ConfigError(str(error)) from None


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> None:  # type: ignore[override]
        self.exit(1, f"prism-proxy: {message}; try --help\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="prism-proxy", description="Serves the typed data access API of Prism over gRPC.", epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"prism-proxy {__version__}")
    parser.add_argument("--listen", action="append", metavar="HOST:PORT",
                        help=f"where to serve gRPC: HOST:PORT, [IPV6]:PORT or unix:PATH; repeatable ({DEFAULT_LISTEN})")
    parser.add_argument("--metrics-listen", metavar="HOST:PORT",
                        help=f"where to serve /metrics, /health and /ready, or 'off' ({DEFAULT_METRICS})")
    parser.add_argument("--tls-cert", metavar="FILE", help="certificate chain (PEM); serves TLS 1.3")
    parser.add_argument("--tls-key", metavar="FILE", help="private key of the certificate (PEM)")
    parser.add_argument("--tls-client-ca", metavar="FILE", help="require client certificates signed by this CA (PEM)")
    parser.add_argument("--insecure", action="store_true", help="serve other machines without TLS")
    parser.add_argument("--reuse-port", action="store_true",
                        help="let another proxy listen on the same port, as a rolling restart needs")
    parser.add_argument("--workers", metavar="N",
                        help="processes that serve the same ports under one supervisor; 1 needs none (1)")
    parser.add_argument("--memory-bytes", metavar="N",
                        help="memory the default namespace may use for keys, values and overhead (268435456)")
    parser.add_argument("--limit", action="append", metavar="NAME=VALUE",
                        help="change a server limit, such as max_message_bytes=33554432; repeatable")
    parser.add_argument("--drain-timeout", metavar="SECONDS", help="how long calls may finish after SIGTERM (30)")
    parser.add_argument("--log-level", metavar="LEVEL", help="debug, info, warning or error (info)")
    parser.add_argument("--log-format", metavar="FORM", help="json, text, or auto: text on a terminal (auto)")
    return parser
