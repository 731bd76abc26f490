"""Three proxies on one machine under one admin, and a fourth that joins and leaves again.

    python -m examples.three_proxies

Namespaces are created through one proxy and used through all of them: a proxy that does not own a namespace passes the
call on to the one that does. What a proxy alone holds (here: in memory) stays with it when others join.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time

import grpc

from examples.processes import Processes, StartError
from prism import control_plane_pb2 as control
from prism import control_plane_pb2_grpc
from prism.admin.v1 import admin_pb2 as admin
from prism.admin.v1 import admin_pb2_grpc
from prism.interfaces.keyvalue import keyvalue_basic_pb2 as pb
from prism.interfaces.keyvalue import keyvalue_basic_pb2_grpc as rpc
from prism_runtime.standard_streams import run_command

HOST = "127.0.0.1"
NAMESPACES = ("orders", "default", "analytics", "user-profiles", "tenant-a", "tenant-b")


class Example:
    """`first_port` is the admin's; proxies follow."""

    def __init__(self, processes: Processes, folder: str, first_port: int) -> None:
        self._processes = processes
        self._folder = folder
        self._first_port = first_port
        self.admin = f"{HOST}:{first_port}"

    def address(self, number: int) -> str:
        return f"{HOST}:{self._first_port + number}"

    def start_admin(self) -> None:
        self._processes.start("prism_admin", "serve", "--listen", self.admin, "--metrics-listen", "off", "--db",
                              f"sqlite:///{self._folder}/admin.db", "--metrics-listen", "off",
                              address=self.admin)

    def start_proxy(self, number: int) -> None:
        self._processes.start("prism_proxy", "--admin-endpoint", self.admin, "--proxy-id", f"proxy-{number:02}",
                              "--listen", self.address(number), "--metrics-listen", "off", "--log-level", "warning",
                              address=self.address(number))

    def create(self, namespace: str) -> str:
        """Through the first proxy; which one owns it."""
        config = control.NamespaceConfig(backends={"store": control.BackendConfig(backend_type="memstore")})
        with grpc.insecure_channel(self.address(1)) as channel:
            made = control_plane_pb2_grpc.ControlPlaneStub(channel).CreateNamespace(
                control.CreateNamespaceRequest(namespace=namespace, config=config), timeout=10, wait_for_ready=True)
        return str(made.assigned_proxy)

    def write(self, number: int, namespace: str, value: str) -> None:
        with grpc.insecure_channel(self.address(number)) as channel:
            rpc.KeyValueBasicInterfaceStub(channel).Set(
                pb.SetRequest(key="written", value=value.encode()), metadata=[("x-namespace", namespace)], timeout=5)

    def read(self, number: int, namespace: str) -> tuple[str, str]:
        """The value, and the proxy that answered."""
        with grpc.insecure_channel(self.address(number)) as channel:
            found, call = rpc.KeyValueBasicInterfaceStub(channel).Get.with_call(
                pb.GetRequest(key="written"), metadata=[("x-namespace", namespace)], timeout=5)
        return found.value.decode(), dict(call.initial_metadata())["x-prism-owner"]

    def leave(self, number: int) -> None:
        """Have the admin give the partitions of a proxy to the others."""
        with grpc.insecure_channel(self.admin) as channel:
            moved = admin_pb2_grpc.AdminServiceStub(channel).Rebalance(
                admin.RebalanceRequest(leave=f"proxy-{number:02}"), timeout=10)
        print(f"{len(moved.moves)} partitions left proxy-{number:02} (prism-admin partitions rebalance --leave ...)")

    def ask_admin(self, *command: str) -> None:
        """A command of operators, with its output."""
        print(f"$ prism-admin {' '.join(command)}", flush=True)
        subprocess.run([sys.executable, "-m", "prism_admin", "--endpoint", self.admin, *command, "-o", "table"],
                       check=True)


def show(example: Example, proxies: range) -> None:
    """Read every namespace through every proxy: all give the same answer."""
    for namespace in NAMESPACES:
        answers = {example.read(number, namespace) for number in proxies}
        assert len(answers) == 1, f"proxies disagree about {namespace}: {answers}"
        (value, owner), = answers
        print(f"  {namespace:15} {value:25} served by {owner}, read through {len(proxies)} proxies")


def main(first_port: int = 8981) -> int:
    """Show it; the exit code."""
    try:
        _show_all(first_port)
    except StartError as error:
        print(f"three_proxies: {error}", file=sys.stderr)
        return 1
    except grpc.RpcError as error:
        print(f"three_proxies: a call failed: {error.code().name}: {error.details()}", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        return int(error.returncode)  # the command has said why
    return 0


def _show_all(first_port: int) -> None:
    with tempfile.TemporaryDirectory() as folder, Processes() as processes:
        example = Example(processes, folder, first_port)
        example.start_admin()
        for number in range(1, 4):
            example.start_proxy(number)
        for number, namespace in enumerate(NAMESPACES):
            example.create(namespace)
            example.write(number % 3 + 1, namespace, f"written through proxy-{number % 3 + 1:02}")
        print("Three proxies, six namespaces:")
        show(example, range(1, 4))
        example.ask_admin("partitions", "show")
        example.start_proxy(4)
        time.sleep(0.5)  # maps reach all proxies within milliseconds
        print("A fourth joined; what proxies hold in memory stayed where it was:")
        show(example, range(1, 5))
        example.ask_admin("proxies", "list")
        example.leave(4)
        print("And it may go again:")
        show(example, range(1, 4))
        example.ask_admin("proxies", "list")


if __name__ == "__main__":
    run_command("three_proxies", main)
