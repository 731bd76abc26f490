"""The servers that can stand in a row, and how each is started on a port."""

from __future__ import annotations

import datetime
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import toolchain, workload
from benchmarks.machine import LOAD_CORE, OUT, SERVER_CORE


@dataclass(frozen=True, slots=True)
class Server:
    """`command(port)` may raise toolchain.MissingToolError. A fixed server answers every call with the reply to Get.

    `beside(port)` is a second process that the first one needs; its CPU and memory are not counted.
    """

    label: str
    command: Callable[[int], list[str]]
    environment: Mapping[str, str] = field(default_factory=dict)
    fixed: bool = False
    tls: bool = False
    beside: Callable[[int], list[str]] | None = None
    beside_core: int = SERVER_CORE


def python(module: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", module, *arguments]


def proxy(*flags: str) -> Callable[[int], list[str]]:
    return lambda port: python("prism_proxy", "--listen", f"127.0.0.1:{port}", "--metrics-listen", "127.0.0.1:0",
                               "--log-level", "warning", *flags)


def _prism_tls(port: int) -> list[str]:
    certificate, key = self_signed()
    return proxy("--tls-cert", str(certificate), "--tls-key", str(key))(port)


def redis_port(port: int) -> int:
    """Of the Redis beside the server at `port`."""
    return port + 200


def redis_server(port: int) -> list[str]:
    """A Redis that keeps nothing on disk."""
    return [toolchain.program("redis-server", "apt: redis-server"), "--port", str(port), "--bind", "127.0.0.1",
            "--save", "", "--appendonly", "no"]


def configured(name: str, namespace: str) -> list[str]:
    """Flags that give the namespace `default` the settings of a YAML flow mapping."""
    OUT.mkdir(exist_ok=True)
    path = OUT / f"{name}.yaml"
    path.write_text(f"namespaces: {{default: {namespace}}}\n")
    return ["--config", str(path)]


def _over_redis(*flags: str) -> Callable[[int], list[str]]:
    def command(port: int) -> list[str]:
        store = f"{{driver: redis, config: {{url: 'redis://127.0.0.1:{redis_port(port)}/0'}}}}"
        return proxy(*configured(f"redis-{port}", f"{{backends: {{store: {store}}}}}"), *flags)(port)

    return command


def _owner_socket(port: int) -> Path:
    return OUT / f"owner-{port}.sock"


def _nghttpd(port: int) -> list[str]:
    root = OUT / "htdocs"
    reply = root / workload.SERVICE / "Get"
    reply.parent.mkdir(parents=True, exist_ok=True)
    reply.write_bytes(workload.framed(workload.get_reply()))
    return [toolchain.program("nghttpd", "apt: nghttp2-server"), "--no-tls", "--workers=1", "--trailer=grpc-status: 0",
            f"--htdocs={root}", str(port)]


def _envoy(port: int) -> list[str]:
    template = (toolchain.PEERS / "envoy" / "envoy.yaml").read_text()
    reply = "".join(f"\\{byte:03d}" for byte in workload.get_reply())
    config = OUT / "envoy.yaml"
    config.write_text(template.replace("@PORT@", str(port)).replace("@REPLY@", reply))
    return [toolchain.envoy(), "--config-path", str(config), "--concurrency", "1", "--log-level", "error"]


SERVERS: Mapping[str, Server] = {
    "prism": Server("Prism, memstore", proxy()),
    "prism-1g": Server("Prism, memstore of 1 GiB", proxy("--memory-bytes", str(1 << 30))),
    "prism-2w": Server("Prism, 2 workers, memstore in one of them", proxy("--workers", "2")),
    "prism-forward": Server(
        "Prism, calls of a namespace of another process", lambda port: python(
            "benchmarks.peers.forwarding_front", f"127.0.0.1:{port}", f"unix:{_owner_socket(port)}"),
        beside=lambda port: python("prism_proxy", "--listen", f"unix:{_owner_socket(port)}", "--metrics-listen", "off",
                                    "--log-level", "warning")),
    "prism-redis": Server(
        "Prism over Redis", _over_redis(), beside=lambda port: redis_server(redis_port(port)), beside_core=LOAD_CORE),
    "prism-redis-2w": Server(
        "Prism over Redis, 2 workers", _over_redis("--workers", "2"),
        beside=lambda port: redis_server(redis_port(port)), beside_core=LOAD_CORE),
    "redis_py": Server(
        "grpc.aio on uvloop with redis-py",
        lambda port: python("benchmarks.peers.redis_servicer", f"127.0.0.1:{port}", str(redis_port(port))),
        beside=lambda port: redis_server(redis_port(port)), beside_core=LOAD_CORE),
    "prism-tls": Server("Prism, TLS 1.3", _prism_tls, tls=True),
    "prism-servicer": Server(
        "Prism, Python servicer",
        lambda port: python("benchmarks.peers.python_servicer", "prism", f"127.0.0.1:{port}")),
    "grpc_aio": Server(
        "grpc.aio on uvloop",
        lambda port: python("benchmarks.peers.python_servicer", "grpc_aio", f"127.0.0.1:{port}")),
    "tonic": Server("Rust tonic over a map", lambda port: [toolchain.tonic(), f"127.0.0.1:{port}"]),
    "grpc_go": Server(
        "grpc-go over a map", lambda port: [toolchain.grpc_go(), f"127.0.0.1:{port}"], {"GOMAXPROCS": "1"}),
    "envoy": Server("Envoy, fixed reply", _envoy, fixed=True),
    "nghttpd": Server("nghttpd, static file", _nghttpd, fixed=True),
    "bare": Server("bare Python and uvloop", lambda port: python("benchmarks.peers.bare_uvloop", f"127.0.0.1:{port}")),
}


def self_signed() -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 and its key, made for each run; an ECDSA key, as is usual for gRPC servers."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(now + datetime.timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256()))
    paths = OUT / "tls.crt", OUT / "tls.key"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    paths[1].chmod(0o600)
    return paths
