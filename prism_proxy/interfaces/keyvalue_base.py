"""What the six key-value servicers share."""

from __future__ import annotations

from typing import Any, ClassVar

from prism_proxy.interfaces.base import NamespacedServicer
from prism_proxy.patterns.keyvalue.pattern import KeyValuePattern


class KeyValueServicer(NamespacedServicer):
    """`interface` is the one a backend must declare to serve the methods of the class."""

    interface: ClassVar[str]

    def pattern(self, context: Any) -> KeyValuePattern:
        """The pattern of the call's namespace. UNIMPLEMENTED, before any I/O, when its backend lacks the interface."""
        pattern = self.route(context).keyvalue
        pattern.require(self.interface)
        return pattern
