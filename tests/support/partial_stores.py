"""Backends that lack interfaces, and a proxy program that has them: `python -m tests.support.partial_stores FLAGS`."""

from __future__ import annotations

from dataclasses import dataclass

from prism_proxy import standard
from prism_proxy.__main__ import main
from prism_proxy.contracts.driver import Declaration
from prism_proxy.models.keyvalue import contract as keyvalue
from tests.contracts.plain_driver import BasicDriver


@dataclass(frozen=True)
class BasicConfig:
    @property
    def declaration(self) -> Declaration:
        return Declaration("basic-only", frozenset({keyvalue.BASIC}), state="local", durability="volatile")


@dataclass(frozen=True)
class ScanConfig:
    @property
    def declaration(self) -> Declaration:
        return Declaration("scan-only", frozenset({keyvalue.SCAN}), state="local", durability="volatile")


class BasicOnly(BasicDriver):
    """What it does not declare it does not have: a call that came this far would be INTERNAL."""

    def __init__(self, config: BasicConfig) -> None:
        super().__init__()
        self.declaration = config.declaration


if __name__ == "__main__":
    here = "tests.support.partial_stores:"
    standard.BACKENDS["basic-only"] = standard.Entry(f"{here}BasicOnly", f"{here}BasicConfig", None)
    standard.BACKENDS["scan-only"] = standard.Entry(f"{here}BasicOnly", f"{here}ScanConfig", None)
    main()
