"""The native view of the namespaces snapshot."""
from prism_proxy._native.slots.circuit cimport CircuitCore
from prism_proxy._native.grpc.quota cimport NamespaceQuota
from prism_proxy._native.slots.concurrency_limiter cimport ConcurrencyCore


cdef class Binding:
    """What a native handler works with on one route: the store of the slot that serves the method's interface."""
    cdef readonly object store
    cdef readonly CircuitCore circuit       # of the slot, or None where nothing breaks
    cdef readonly ConcurrencyCore limiter   # of the slot, or None where calls are not limited
    cdef readonly object cipher     # of the values in the store, or None where they are as callers see them


cdef class NativeRoute:
    """What native code keeps of a namespace's route."""
    cdef readonly object route
    cdef readonly bytes name
    cdef readonly dict bindings     # by the service whose calls native code may serve: Binding, or what makes it
    cdef readonly object forward    # the Handler of a namespace that is served elsewhere, or None
    cdef readonly bytes owner       # what replies name as x-prism-owner, or None
    cdef readonly NamespaceQuota quota      # its limits, or None
    cdef readonly frozenset repeated    # paths of forwarded methods that may run again when the owner is lost
    cdef list methods               # RoutedMethod by the index of its method


cdef class RouteTable:
    """Immutable: one per snapshot. Connections compare its identity to know whether what they remember still holds."""
    cdef readonly object revision
    cdef dict by_name
    cdef NativeRoute default
    cdef bytes default_name
    cdef list by_partition          # the route of each partition of another proxy, None of ours; None: there are none


cdef Binding bound(NativeRoute route, bytes service, type kind)
cdef str not_found(RouteTable table, bytes sent)
