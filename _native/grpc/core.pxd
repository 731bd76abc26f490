"""What all calls of a server share: the method table, the active routes, the gauges. Knows no single call."""
from libc.stdint cimport int64_t

from prism_proxy._native.grpc.call_watch cimport CallWatch
from prism_proxy._native.http2.session cimport H2Session, OutputScheduler
from prism_proxy._native.http2.limits cimport NativeLimits
from prism_proxy._native.grpc.metrics cimport MethodStats
from prism_proxy._native.grpc.request_head cimport RequestHead
from prism_proxy._native.grpc.routing cimport Binding, NativeRoute, RouteTable
from prism_proxy._native.grpc.servicer_queue cimport ServicerQueue


cdef class Method:
    """A row of the method table. Its native handlers are asked in turn, the servicer serves the others."""
    cdef readonly bytes path
    cdef readonly bytes service
    cdef readonly str operation
    cdef readonly int index
    cdef readonly bint namespaced
    cdef readonly bint lasting          # its calls are streams that last as long as their callers want
    cdef readonly bint transient        # of one call alone: a generic handler chose it by more than the path
    cdef readonly list natives          # of Handler
    cdef readonly object servicer       # Handler, or None
    cdef RoutedMethod unrouted          # for calls without a namespace, or with one that does not exist


cdef class RoutedMethod:
    """A method for the calls of one route: who serves it, and its statistics."""
    cdef object handler                 # Handler; None until the first call has chosen
    cdef Binding binding                # of a native handler
    cdef MethodStats stats


cdef class ServerCore:
    """What all connections of a server share."""
    cdef readonly NativeLimits limits
    cdef readonly object loop
    cdef OutputScheduler scheduler
    cdef readonly object settings
    cdef dict methods
    cdef int method_count
    cdef RoutedMethod generic           # statistics of calls that generic handlers serve: their paths are unbounded
    cdef RouteTable routes
    cdef readonly set connections
    cdef readonly int streams, handlers_running
    cdef readonly int servicer_backlog  # calls for Python that the loop has not begun
    cdef ServicerQueue queue
    cdef readonly int64_t bytes_held
    cdef int connections_holding        # request bytes
    cdef readonly bint draining
    cdef public bint echoes_ids         # replies carry the caller's x-request-id
    cdef public bytes peer_token        # what other proxies show; empty believes this machine, None nobody
    cdef public CallWatch watch         # hears of the end of calls, or None
    cdef object resolve, stats_for, describe_error, executor, on_idle
    cdef public object encode_shed      # makes `shed_trailers`, variants of what a shed call is told
    cdef list shed_trailers
    cdef Method find(self, RequestHead head)
    cdef NativeRoute route(self, GrpcSession session, RequestHead head)
    cdef NativeRoute lookup(self, RequestHead head)
    cdef RoutedMethod routed(self, NativeRoute route, Method method)


cdef class GrpcSession(H2Session):
    """A server connection as the calls on it see it; connection.pyx adds its life."""
    cdef readonly ServerCore core
    cdef Method last_method
    cdef NativeRoute last_route
    cdef RouteTable last_table
    cdef int handlers_running
    cdef int64_t bytes_held
    cdef void account(self, int64_t change) noexcept
    cdef bint over_share(self) noexcept
    cdef bint is_ending(self) noexcept
