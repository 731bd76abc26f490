"""What `make run` does: an admin, a proxy joined to it, first calls through the proxy; both run until Ctrl-C."""

from __future__ import annotations

import sys
from pathlib import Path

import grpc

from examples.first_call import created_namespace, durable_call, first_call, first_job, first_message
from examples.processes import Processes, StartError
from prism_runtime.standard_streams import run_command

ADDRESS = "127.0.0.1:8980"
METRICS = "127.0.0.1:9090"
ADMIN = "127.0.0.1:8981"
CONFIG = Path(__file__).with_name("run.yaml")
DATA = Path(".prism")  # where run.yaml keeps its file, the proxy those of other namespaces, and the admin its database


def main(address: str = ADDRESS, metrics: str = METRICS, admin: str = ADMIN) -> int:
    """Serve until told to stop, or until one of the programs ends; the exit code."""
    DATA.mkdir(mode=0o700, exist_ok=True)
    with Processes() as processes:
        try:
            processes.start("prism_admin", "serve", "--listen", admin, "--db", f"sqlite:///{DATA.resolve()}/admin.db",
                            "--metrics-listen", "off", address=admin)
            processes.start("prism_proxy", "--config", str(CONFIG), "--listen", address, "--metrics-listen", metrics,
                            "--admin-endpoint", admin, "--proxy-id", "proxy-01",
                            "--admin-data-dir", str(DATA / "proxy-01"), address=address)
            calls = (first_call, durable_call, first_message, first_job, created_namespace)
            print("\n\n".join(call(address) for call in calls))
            print(f"\nServing on {address}, admin on {admin}, metrics on http://{metrics}/metrics. Ctrl-C stops.",
                  flush=True)
            return processes.wait()
        except KeyboardInterrupt:
            return processes.stop()
        except StartError as error:
            return _fail(str(error))
        except grpc.RpcError as error:
            return _fail(f"a first call failed: {error.code().name}: {error.details()}")


def _fail(message: str) -> int:
    print(f"make run: {message}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    run_command("make run", main)
