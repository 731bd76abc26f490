"""What a namespace is configured to be.

Instances can be compared, pickled and sent to another process. `prism_proxy.configuration.namespaces` reads them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from prism_proxy.namespaces.limits import LoadLimits
from prism_proxy.secrets.options import AuthOptions
from prism_proxy.slots.options import SlotOptions

DEFAULT = "default"
DEFAULT_PATTERN = "primitives"
STORE = "store"


NAME_RULE = "1 to 253 printable ASCII characters, without a space at either end"


def usable_name(name: str) -> bool:
    """Whether a client can send the name as metadata: HTTP carries ASCII and drops spaces around it."""
    return 0 < len(name) <= 253 and name.isascii() and name.isprintable() and name == name.strip()


@dataclass(frozen=True, slots=True)
class SlotConfig:
    """`driver` is a name of `prism_proxy.standard.BACKENDS`, `config` an instance of its configuration class.
    `auth` names the credentials that are put into it when it is activated."""

    driver: str
    config: Any
    resilience: SlotOptions = field(default_factory=SlotOptions)
    auth: AuthOptions | None = None


@dataclass(frozen=True, slots=True)
class NamespaceConfig:
    """`options` has the groups of options that are not left at their defaults by name, such as `keyvalue`: those of
    data models, of steps, and of the pattern. An `assigned` namespace comes from an admin, not from the proxy's own
    file: it uses nothing of the process that the file does not allow it."""

    name: str
    pattern: str
    slots: Mapping[str, SlotConfig]
    options: Mapping[str, Any] = field(default_factory=dict)
    limits: LoadLimits = field(default_factory=LoadLimits)
    assigned: bool = False

    def __post_init__(self) -> None:
        if not usable_name(self.name):
            raise ValueError(f"namespace name {self.name!r} must be {NAME_RULE}")

    @classmethod
    def of_store(
        cls, name: str, driver: str, config: Any, *, resilience: SlotOptions | None = None,
        limits: LoadLimits | None = None, **options: Any,
    ) -> NamespaceConfig:
        """A namespace of the default pattern: one driver, and everything it can do."""
        return cls(name, DEFAULT_PATTERN, {STORE: SlotConfig(driver, config, resilience or SlotOptions())}, options,
                   limits or LoadLimits())

    def driver_config(self, slot: str) -> Any:
        """What the driver of a slot is made of. Settings of a server that namespaces share are told whose data they are
        for: other slots than the store have an area of their own, whose name no namespace can have."""
        config = self.slots[slot].config
        within = getattr(config, "within", None)
        if within is None:
            return config
        return within(self.name if slot == STORE else f"{self.name}\x1f{slot}")
