"""Settings that all stores reached over HTTP have."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from prism_runtime.settings import setting

MIB = 1024 * 1024
NEVER = "3650days"  # a whole transfer may take as long as its caller lets it; `timeout` is about bytes that do not come


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudSettings:
    max_retries: int = setting("How often a request is made again that the store did not answer, or answered with a "
                               "passing error.", 3, minimum=0, maximum=20, unit="retries")
    retry_backoff: float = setting("Time before the first retry; it doubles.", 0.1, minimum=0.001, maximum=60, unit="s")
    connect_timeout: float = setting("Time to connect.", 3.0, minimum=0.01, maximum=60, unit="s")
    timeout: float = setting("How long the store may be silent: before its answer, and between two pieces of it.", 30.0,
                             minimum=0.1, maximum=3600, unit="s")
    part_bytes: int = setting("Objects larger than this are uploaded in parts of this size; S3 takes 10,000 of them.",
                              8 * MIB, minimum=5 * MIB, maximum=512 * MIB, unit="bytes")
    buffer_bytes: int = setting("Memory for the parts of all uploads of one worker; further uploads wait. It must "
                                "hold two parts.", 128 * MIB, minimum=10 * MIB, unit="bytes")
    idle_connections: int = setting("Connections that stay open when idle.", 16, minimum=0, maximum=1000,
                                    unit="connections")

    def check_buffers(self) -> None:
        """ValueError when not even one upload fits."""
        if self.buffer_bytes < 2 * self.part_bytes:
            raise ValueError(f"buffer_bytes is {self.buffer_bytes}: it must hold two parts of part_bytes, "
                             f"{2 * self.part_bytes}")

    def client_options(self) -> dict[str, Any]:
        """As obstore takes them."""
        return {"timeout": NEVER, "read_timeout": f"{self.timeout}s", "connect_timeout": f"{self.connect_timeout}s",
                "pool_max_idle_per_host": str(self.idle_connections)}

    def retry_config(self) -> dict[str, Any]:
        first = timedelta(seconds=self.retry_backoff)
        backoff = {"init_backoff": first, "max_backoff": max(first, timedelta(seconds=5)), "base": 2}
        return {"max_retries": self.max_retries, "backoff": backoff,
                "retry_timeout": timedelta(seconds=self.timeout * (self.max_retries + 1))}
