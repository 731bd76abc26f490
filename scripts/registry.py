"""Writes `registry/interfaces/` from the catalogue: `python -m scripts.registry`. A test holds the files true."""

from __future__ import annotations

from pathlib import Path

from prism_proxy.interfaces.catalogue import catalogue
from prism_proxy.interfaces.interface import Interface

FOLDER = Path(__file__).parents[1] / "registry" / "interfaces"


def page(interface: Interface) -> str:
    """The file of one interface."""
    methods = ", ".join(method.name for method in interface.methods)
    effects = ", ".join(f"{method.name}: {method.effect}" for method in interface.methods)
    return (f"interface: {interface.name}\nmodel: {interface.model}\ndescription: {interface.doc!r}\n"
            f"proto: {interface.proto}\nservice: {interface.service}\nmethods: [{methods}]\neffects: {{{effects}}}\n")


def main() -> None:
    for file in FOLDER.glob("*.yaml"):
        file.unlink()
    for name, interface in catalogue().items():
        (FOLDER / f"{name}.yaml").write_text(page(interface))


if __name__ == "__main__":
    main()
