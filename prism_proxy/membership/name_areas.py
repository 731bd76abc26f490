"""Where namespaces have their names at their servers, as the admin is told it.

The admin knows no product, so it cannot tell from a configuration whether two namespaces meet. A proxy can.
"""

from __future__ import annotations

from collections.abc import Iterable

from prism import control_plane_pb2 as pb
from prism_proxy.namespaces.areas import occupied
from prism_proxy.namespaces.model import NamespaceConfig


def name_areas(configs: Iterable[NamespaceConfig]) -> list[pb.NameArea]:
    return [pb.NameArea(namespace=found.namespace, slot=found.slot, server=found.area.server, prefix=found.area.prefix,
                        shared=found.area.shared, machine=found.area.machine) for found in occupied(configs)]
