"""What a namespace is configured to be.

Instances can be compared, pickled and sent to another process. A field whose type is a settings class is a group of the
configuration file by itself; the others are read by `prism_proxy.configuration.namespaces`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from prism_proxy.namespaces.limits import LoadLimits
from prism_proxy.patterns.keyvalue.declaration import KeyValueOptions
from prism_proxy.slots.options import SlotOptions

DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class NamespaceConfig:
    """`backend` is a name of `prism_proxy.standard`, `backend_config` that backend's configuration class."""

    name: str
    backend: str
    backend_config: Any
    keyvalue: KeyValueOptions = field(default_factory=KeyValueOptions)
    resilience: SlotOptions = field(default_factory=SlotOptions)
    limits: LoadLimits = field(default_factory=LoadLimits)

    def __post_init__(self) -> None:
        if not 0 < len(self.name.encode()) <= 253 or not self.name.isprintable():
            raise ValueError(f"namespace name {self.name!r} must be 1 to 253 bytes of printable text")

    @property
    def driver_config(self) -> Any:
        """What the driver is made of. Settings of a store that namespaces share are told whose keys they are for."""
        within = getattr(self.backend_config, "within", None)
        return self.backend_config if within is None else within(self.name)
