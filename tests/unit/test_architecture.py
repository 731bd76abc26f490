"""ARCHITECTURE.md is a map of the tree as it is: nothing on it is gone, and no room is missing."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PRODUCT = (
    "prism_proxy", "prism_admin", "prism_runtime", "prism_schema", "prism_schema_registry", "prismctl", "admin_client")
NATIVE = ROOT / "_native"  # its copy in the package is made by the build
PATH = re.compile(r"[\w./-]+(?:\.(?:py|pyx|pxd|h|c|md|proto)|/)")
QUOTED = re.findall(r"`([^`\s]+)`", (ROOT / "ARCHITECTURE.md").read_text())
NAMED = {text.rstrip("/") for text in QUOTED if PATH.fullmatch(text)}


def tree() -> set[str]:
    """Folders and files of the sources, relative to the root."""
    tops = [*(ROOT / name for name in (*PRODUCT, "proto", "registry", "docs", "tests")), NATIVE]
    found = {path for top in tops for path in top.rglob("*") if "__pycache__" not in path.parts}
    found = {path for path in found if ROOT / "prism_proxy/_native" not in path.parents}
    found |= {path for path in ROOT.iterdir() if not path.name.startswith(".")}
    return {str(path.relative_to(ROOT)) for path in found}


def test_nothing_on_the_map_is_gone() -> None:
    there = {f"/{path}" for path in tree()}
    assert [name for name in sorted(NAMED) if not any(path.endswith(f"/{name}") for path in there)] == []


def test_every_package_and_every_module_beside_packages_is_on_the_map() -> None:
    packages = {package.parent for name in PRODUCT for package in (ROOT / name).rglob("__init__.py")}
    tops = ("prism_proxy", "prism_admin", "prism_schema_registry")
    modules = {module for name in tops for module in (ROOT / name).glob("[!_]*.py")}
    missing = [str(path.relative_to(ROOT)) for path in sorted(packages | modules) if not on_the_map(path)]
    assert missing == []


def on_the_map(path: Path) -> bool:
    """By its whole path, or the end of it; packages below those of the admin may go without saying."""
    whole = path.relative_to(ROOT)
    names = {str(whole), *(str(whole.relative_to(*whole.parts[:count])) for count in range(1, len(whole.parts)))}
    inner = whole.parts[0] == "prism_admin" and len(whole.parts) > 2
    return bool(names & NAMED) or inner or path.name == "_native" or (ROOT / whole.parts[0]) == path
