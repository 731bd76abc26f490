"""The native view of the namespaces snapshot: what a call needs to know of its namespace, by name."""
from prism_proxy._native.slots.circuit cimport CircuitCore
from prism_proxy._native.grpc.quota cimport NamespaceQuota
from prism_proxy._native.slots.concurrency_limiter cimport ConcurrencyCore

cdef enum:
    PARTITIONS = 256
    NAMES_SHOWN = 10    # of namespaces, in a message


cdef class Binding:
    def __cinit__(self, store not None, CircuitCore circuit=None, ConcurrencyCore limiter=None, cipher=None):
        self.store = store
        self.cipher = cipher
        self.circuit = circuit
        self.limiter = limiter


cdef class NativeRoute:
    def __cinit__(self, route, str name not None, dict bindings=None, forward=None, str owner=None,
                  NamespaceQuota quota=None, frozenset repeated not None=frozenset()):
        self.route = route
        self.name = name.encode()
        self.bindings = bindings if bindings is not None else {}
        self.forward = forward
        self.owner = owner.encode() if owner is not None else None
        self.quota = quota
        self.repeated = repeated
        self.methods = []


cdef class RouteTable:
    def __cinit__(self, object revision, list routes not None, str default not None, list by_partition=None):
        cdef NativeRoute route
        self.revision = revision
        self.by_name = {}
        for route in routes:
            self.by_name[route.name] = route
        self.default_name = default.encode()
        self.default = self.by_name.get(self.default_name)
        if by_partition is not None and len(by_partition) != PARTITIONS:
            raise ValueError(f"{len(by_partition)} partitions: there are {PARTITIONS}")
        self.by_partition = by_partition


cdef Binding bound(NativeRoute route, bytes service, type kind):
    """What native handlers of a service work with on a route, where it has a store of this kind; else None."""
    found = route.bindings.get(service)
    if found is not None and not isinstance(found, Binding):
        found = route.bindings[service] = found()
    return <Binding>found if found is not None and isinstance((<Binding>found).store, kind) else None


cdef str not_found(RouteTable table, bytes sent):
    """What a call is told whose namespace is not here; `sent` is empty where it named none, which means the default."""
    if sent:
        return f"there is no namespace {sent.decode('latin-1')!r} on this proxy"
    names = sorted(name.decode() for name in table.by_name)
    shown = ", ".join(names[:NAMES_SHOWN])
    if len(names) > NAMES_SHOWN:
        shown += f" and {len(names) - NAMES_SHOWN} more"
    return (f"the call sent no x-namespace, and there is no namespace {table.default_name.decode()!r} on this proxy: "
            + (f"send one of {shown}" if names else "it has none"))
