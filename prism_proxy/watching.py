"""Who hears of single calls in this process, where it is asked for: the log, a collector of spans, an audit hook."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from prism_proxy._native.grpc.call_watch import CallWatch
from prism_proxy.process_config import ProxyConfig
from prism_proxy.telemetry.calls import Export, make_watch
from prism_proxy.telemetry.metrics import Metrics

if TYPE_CHECKING:  # a proxy without a collector has no use for it
    from prism_proxy.telemetry.otel import Telemetry


class Watching:
    """`waits(path)` names methods that may take their time."""

    def __init__(self, config: ProxyConfig, metrics: Metrics, waits: Callable[[str], bool]) -> None:
        self._config = config
        self._metrics = metrics
        self._waits = waits
        self._telemetry: Telemetry | None = None

    def open(self) -> CallWatch | None:
        """The watch of a server, None when nobody wants to hear of any call. ValueError: there is no such hook."""
        config = self._config
        return make_watch(config.log_calls, config.slow_call_s, config.trace.sample_ratio, self._trace(), self._waits,
                          self._audit())

    async def close(self) -> None:
        """Send what waits for the collector."""
        if self._telemetry is not None:
            await self._telemetry.close()

    def _trace(self) -> Export | None:
        if self._config.trace.exporter == "none":
            return None
        from prism_proxy.telemetry.otel import start

        self._telemetry = start(self._config.trace, self._metrics)
        return self._telemetry.export

    def _audit(self) -> Export | None:
        if not self._config.audit_hook:
            return None
        from prism_proxy.telemetry.audit import load_hook

        return load_hook(self._config.audit_hook)
