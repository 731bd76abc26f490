"""Serves the KeyValue interfaces of a driver, whatever else it has."""

from __future__ import annotations

from prism_proxy.models.keyvalue.contract import ALL
from prism_proxy.patterns.primitives.pattern import Primitives


class KeyValuePattern(Primitives):
    only = ALL
