"""`admin_client` with nothing of the product beside it but the generated messages it speaks."""

from __future__ import annotations

import asyncio
import shutil
import sys
from pathlib import Path

from tests.services.admin import AdminProcess

ROOT = Path(__file__).parents[3]
STUBS = ("control_plane_pb2.py", "control_plane_pb2_grpc.py", "options_pb2.py")
PROGRAM = """
import asyncio, sys
sys.path[:0] = [sys.argv[1]]
import admin_client
from prism import control_plane_pb2 as pb

async def main():
    client = admin_client.AdminClient(sys.argv[2])
    ack = await client.register(pb.ProxyRegistration(proxy_id="alone", address="127.0.0.1:1"))
    maps = client.watch_partitions("alone")
    found = await anext(maps)
    print(ack.partition_ranges[0].end, found.owners[0].proxy_id)
    await maps.aclose()
    await client.close()

asyncio.run(main())
ours = {name.partition(".")[0] for name in sys.modules} & {"prism_proxy", "prism_admin"}
assert not ours, ours
assert admin_client.__file__.startswith(sys.argv[1]) and pb.__file__.startswith(sys.argv[1])
"""


async def test_the_client_needs_nothing_else_of_the_product(tmp_path: Path) -> None:
    alone = tmp_path / "alone"
    shutil.copytree(ROOT / "admin_client", alone / "admin_client", ignore=shutil.ignore_patterns("__pycache__"))
    (alone / "prism").mkdir()
    (alone / "prism" / "__init__.py").touch()
    for name in STUBS:
        shutil.copy(ROOT / "prism" / name, alone / "prism" / name)
    admin = await AdminProcess(f"sqlite:///{tmp_path / 'admin.db'}").start()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-I", "-c", PROGRAM, str(alone), f"127.0.0.1:{admin.port}", cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE)
    said, errors = await process.communicate()
    await admin.stop()
    assert process.returncode == 0, errors.decode()
    assert said.split() == [b"255", b"alone"]
