"""The settings of one proxy process. `prism_proxy.configuration` fills them from flags, environment and file.

A field here is at once a flag (`metrics_listen` is --metrics-listen, `tls.cert` is --tls-cert), a variable
(PRISM_METRICS_LISTEN), a key under `proxy:` of the file and a row of the reference page.
"""

from __future__ import annotations

from dataclasses import dataclass

from prism_proxy.admin_options import AdminOptions
from prism_proxy.schema.options import SchemasOptions
from prism_proxy.secrets.options import SecretsOptions
from prism_proxy.server.limits import Limits
from prism_proxy.telemetry.tracing_options import TraceOptions
from prism_runtime.address import Address
from prism_runtime.settings import check, setting
from prism_runtime.tls import TlsConfig

DEFAULT_LISTEN = Address("127.0.0.1", 8980)
DEFAULT_METRICS = Address("127.0.0.1", 9090)


@dataclass(frozen=True, slots=True)
class SubscriptionOptions:
    """What bounds the subscriptions of all namespaces together."""

    buffer_total: int = setting(
        "Bytes that may wait for all subscribers of a process together; then each one's slow_subscriber decides, as "
        "when its own buffer is full.", 256 * 1024 * 1024, minimum=1024 * 1024, maximum=2**50, unit="bytes")

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, slots=True)
class ProxyConfig:
    """Settings of one proxy process. ValueError, which begins with a setting's name, for what does not go together."""

    listen: tuple[Address, ...] = setting(
        "Where to serve gRPC: HOST:PORT, [IPV6]:PORT or unix:PATH.", (DEFAULT_LISTEN,))
    metrics_listen: Address | None = setting(
        "Where to serve /metrics, /health and /ready, or off.", DEFAULT_METRICS)
    tls: TlsConfig | None = setting("Serve TLS 1.3 instead of cleartext.", None)
    insecure: bool = setting("Serve other machines without TLS.", False)
    reuse_port: bool = setting("Let another proxy listen on the same port, as a rolling restart needs.", False)
    workers: int = setting(
        "Processes that serve the same ports under one supervisor; 1 needs none.", 1, minimum=1, maximum=256,
        unit="processes")
    memory_bytes: int = setting(
        "Memory the default namespace may use for keys, values and overhead, where no namespaces are configured.",
        256 * 1024 * 1024, minimum=1024 * 1024, unit="bytes", live=True)
    limits: Limits = setting("Limits of the server against floods, stalls and oversized input.", factory=Limits)
    pubsub: SubscriptionOptions = setting("Subscriptions of all namespaces.", factory=SubscriptionOptions)
    admin: AdminOptions = setting("The control plane, for a proxy that is one of several.", factory=AdminOptions)
    secrets: SecretsOptions = setting("Where encryption keys come from.", factory=SecretsOptions)
    schemas: SchemasOptions = setting("Where schemas come from.", factory=SchemasOptions)
    log_calls: str = setting(
        "Which calls get a log line of their own: errors are failures of ours and slow calls, a few lines a second.",
        "errors", choices=("none", "errors", "all"))
    audit_hook: str = setting(
        "The audit hook that hears of every call of a namespace: the name of an entry point of the group prism.audit "
        "of an installed package. Empty: nobody hears of it.", "")
    slow_call_s: float = setting(
        "Calls that take longer are slow: they are traced, and logged unless they are streams.", 0.1, minimum=0,
        maximum=3600, unit="seconds")
    trace: TraceOptions = setting("Spans by OpenTelemetry; needs the extra prism-proxy[otel].", factory=TraceOptions)
    log_level: str = setting(
        "The least level that is logged.", "info", choices=("debug", "info", "warning", "error"), live=True)
    log_format: str = setting(
        "How log lines are written; auto is text on a terminal and JSON elsewhere.", "auto",
        choices=("auto", "json", "text"), live=True)

    @property
    def reachable(self) -> Address | None:
        """The first address of `listen` that names one host and a port; its port may be 0."""
        return next((found for found in self.listen if found.unix_path is None and not found.wildcard), None)

    def __post_init__(self) -> None:
        check(self)
        if not self.listen:
            raise ValueError("listen is empty: name at least one address")
        if self.admin.joined and not self.admin.advertise and self.reachable is None:
            raise ValueError(
                f"admin needs advertise (--advertise HOST:PORT): nobody can dial {', '.join(map(str, self.listen))}")
        for address in self.listen:
            if self.tls is None and not address.loopback and not self.insecure:
                raise ValueError(
                    f"listen {address} is reachable from other machines and has no TLS: give --tls-cert and --tls-key, "
                    "or --insecure if the network is trusted")
