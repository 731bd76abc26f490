"""The native view of the namespaces snapshot."""


cdef class NativeRoute:
    """What native code keeps of a namespace's route: its name, its store, and the statistics of each method."""
    cdef readonly object route
    cdef readonly bytes name
    cdef readonly object native_store
    cdef list stats


cdef class RouteTable:
    """Immutable: one per snapshot. Connections compare its identity to know whether what they remember still holds."""
    cdef readonly object revision
    cdef dict by_name
    cdef NativeRoute default
