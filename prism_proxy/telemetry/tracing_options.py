"""What operators may set about traces and about the lines logged of single calls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from prism_runtime.settings import check, setting

SERVICE = "prism-proxy"  # the name under which a collector knows this process


@dataclass(frozen=True, slots=True)
class TraceOptions:
    """Where spans go. The usual variables of OpenTelemetry (OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_SERVICE_NAME,
    OTEL_RESOURCE_ATTRIBUTES) hold where nothing is set here."""

    exporter: str = setting(
        "Where spans are sent: otlp (gRPC), jaeger (the same), stdout, or none.", "none",
        choices=("none", "otlp", "jaeger", "stdout"))
    endpoint: str = setting("URL of the collector, such as http://127.0.0.1:4317.", "")
    sample_ratio: float = setting(
        "Share of ordinary calls that are traced. Failures, slow calls, and calls of a sampled parent always are.",
        0.01, minimum=0, maximum=1)
    metrics: bool = setting("Send metrics to the same collector.", False)

    def __post_init__(self) -> None:
        check(self)

    def target(self) -> dict[str, Any]:
        """Where an exporter sends to: what the options say, else the environment of OpenTelemetry."""
        if not self.endpoint:
            return {}
        return {"endpoint": self.endpoint, "insecure": not self.endpoint.startswith("https:")}
