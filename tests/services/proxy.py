"""A `prism-proxy` process for tests."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

START_SECONDS = 15


class Proxy:
    """Starts on construction, on free ports; `address` and `metrics_url` say where."""

    def __init__(self, *arguments: str, listen: str = "127.0.0.1:0", env: dict[str, str] | None = None) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "prism_proxy", "--listen", listen, "--metrics-listen", "127.0.0.1:0", *arguments],
            stderr=subprocess.PIPE, text=True, env={**os.environ, "PRISM_LOG_FORMAT": "json", **(env or {})},
            cwd=Path(__file__).parent.parent.parent)
        self.log: list[dict[str, Any]] = []
        self._serving = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        if not self._serving.wait(START_SECONDS) or self.port is None:
            self.process.kill()
            raise RuntimeError(f"the proxy did not start: {self.log}")

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            try:
                entry = json.loads(line)
            except ValueError:
                entry = {"event": line.rstrip()}
            self.log.append(entry)
            if entry.get("event") == "serving":
                self._serving.set()
        self._serving.set()

    def _started(self) -> dict[str, Any]:
        return next((entry for entry in self.log if entry.get("event") == "serving"), {})

    @property
    def port(self) -> int | None:
        ports = self._started().get("ports")
        return int(ports[0]) if ports else None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def metrics_url(self) -> str:
        return f"http://127.0.0.1:{self._started()['metrics_port']}"

    def resident_bytes(self) -> int:
        """Resident memory of the process."""
        with open(f"/proc/{self.process.pid}/statm", encoding="ascii") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def stop(self, number: int = signal.SIGTERM, timeout: float = 40) -> int:
        """Signal the process and wait for its end; the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            code = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        self._reader.join(5)
        return code

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._reader.join(5)
