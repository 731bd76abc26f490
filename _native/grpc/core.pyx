"""What all calls of a server share: the method table, the active routes, the gauges.

A connection remembers the method and the route of its last call, so that repeated calls cost comparisons only; a swap
of the routing table is noticed by its identity.
"""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE

from libc.stdint cimport uint8_t

from prism_proxy._native.runtime.crc32 cimport crc32_of
from prism_proxy._native.http2.session cimport H2Session, OutputScheduler
from prism_proxy._native.http2.limits cimport NativeLimits
from prism_proxy._native.grpc.request_head cimport RequestHead, equals
from prism_proxy._native.grpc.routing cimport NativeRoute, RouteTable
from prism_proxy._native.grpc.servicer_queue cimport ServicerQueue

cdef enum:
    PARTITIONS = 256

cdef str GENERIC = "/_generic/_generic"     # the label of methods that only a generic handler knows
cdef str FORWARDED = "_forwarded"   # the label of namespaces that other proxies serve: we do not know their names


cdef class Method:
    def __cinit__(self, str path not None, int index, bint namespaced, list natives not None, servicer,
                  bint transient=False, bint lasting=False):
        self.path = path.encode()
        self.service = path.rpartition("/")[0].lstrip("/").encode()
        self.operation = path.rpartition("/")[2]
        self.index = index
        self.namespaced = namespaced
        self.natives = natives
        self.servicer = servicer
        self.transient = transient
        self.lasting = lasting


cdef class RoutedMethod:
    pass


cdef class ServerCore:
    """Made by `prism_proxy.server.server.Server`.

    `resolve(path, metadata)` makes the method of one call whose path is not in the table (or None);
    `stats_for(namespace, path, backend)` makes the statistics of a method; `describe_error(error, request_id)` turns a
    PrismError or (code, reason, message) into (code, message, details).
    """

    def __cinit__(self, loop, limits, NativeLimits native_limits not None, resolve, stats_for, describe_error,
                  executor):
        self.loop = loop
        self.settings = limits
        self.limits = native_limits
        self.scheduler = OutputScheduler(loop)
        self.queue = ServicerQueue(loop, native_limits.servicer_wait_ns)
        self.resolve = resolve
        self.stats_for = stats_for
        self.describe_error = describe_error
        self.executor = executor
        self.methods = {}
        self.connections = set()
        self.routes = RouteTable(0, [], "")

    def add_method(self, str path not None, list natives not None, servicer, bint namespaced,
                   bint lasting=False) -> Method:
        method = Method(path, self.method_count, namespaced, natives, servicer, False, lasting)
        self.method_count += 1
        self.methods[method.path] = method
        return method

    def transient_method(self, str path not None, servicer, bint namespaced, bint lasting=False) -> Method:
        """A method for one call. It is not kept: the next call of its path may be somebody else's."""
        return Method(path, -1, namespaced, [], servicer, True, lasting)

    def set_routes(self, RouteTable table not None) -> None:
        """Swap the routing table. An inactive route is then held only by the calls in progress on it."""
        cdef GrpcSession session
        self.routes = table
        for session in self.connections:
            session.last_table = None
            session.last_route = None

    cdef Method find(self, RequestHead head):
        """The method of a path that the connection's last call did not have, or None."""
        cdef bytes path = (<char*>head.head.data + head.path.offset)[:head.path.length]
        found = self.methods.get(path)
        if found is None:
            found = self.resolve(path.decode("latin-1"), head.metadata())
        return <Method?>found if found is not None else None

    cdef NativeRoute route(self, GrpcSession session, RequestHead head):
        """The route of the call's namespace; None when there is no such namespace."""
        cdef NativeRoute known = session.last_route
        if session.last_table is self.routes and known is not None:
            if head.namespace.length == 0:
                if known is self.routes.default:
                    return known
            elif equals(head.head.data + head.namespace.offset, head.namespace.length,
                        PyBytes_AS_STRING(known.name), PyBytes_GET_SIZE(known.name)):
                return known
        known = self.lookup(head)
        session.last_table = self.routes
        session.last_route = known
        return known

    cdef NativeRoute lookup(self, RequestHead head):
        """The route of the call's namespace, or of its partition where another proxy serves that; None: nowhere."""
        cdef const uint8_t* name = head.head.data + head.namespace.offset
        cdef RouteTable routes = self.routes
        cdef NativeRoute found
        cdef size_t length
        if head.namespace.length == 0:
            found = routes.default
            name, length = <const uint8_t*>PyBytes_AS_STRING(routes.default_name), PyBytes_GET_SIZE(routes.default_name)
        else:
            length = head.namespace.length
            found = routes.by_name.get((<char*>name)[:length])
        if found is None and routes.by_partition is not None:
            found = routes.by_partition[crc32_of(name, length) % PARTITIONS]
        return found

    cdef RoutedMethod routed(self, NativeRoute route, Method method):
        """The method on the route, or on no route."""
        cdef RoutedMethod found
        if method.transient:
            if self.generic is None:
                found = RoutedMethod.__new__(RoutedMethod)
                found.stats = self.stats_for(None, GENERIC, "")
                self.generic = found
            return self.generic
        if route is None:
            found = method.unrouted
        else:
            while len(route.methods) <= method.index:
                route.methods.append(None)
            found = route.methods[method.index]
        if found is None:
            found = RoutedMethod.__new__(RoutedMethod)
            namespace = (route.name.decode() or FORWARDED) if route is not None else None
            backend = getattr(route.route, "backend", "") if route is not None else ""
            found.stats = self.stats_for(namespace, method.path.decode(), backend)
            if route is None:
                method.unrouted = found
            else:
                route.methods[method.index] = found
        return found


cdef class GrpcSession(H2Session):
    cdef void account(self, int64_t change) noexcept:
        """Request bytes are held for this connection, or no longer."""
        if change:
            self.core.bytes_held += change
            self.core.connections_holding += (self.bytes_held + change > 0) - (self.bytes_held > 0)
            self.bytes_held += change

    cdef bint over_share(self) noexcept:
        """Whether too many request bytes are held, and this connection has more than its part of the budget: one that
        leaves it to others may go on, so that whoever fills the budget stops himself."""
        cdef int64_t budget = self.core.limits.receive_budget_bytes
        return self.core.bytes_held > budget and self.bytes_held * max(1, self.core.connections_holding) > budget

    cdef bint is_ending(self) noexcept:
        """Whether its end was announced."""
        return False
