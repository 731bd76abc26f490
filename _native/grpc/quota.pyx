"""Rate and load limits of namespaces: who uses which slot of the shared page, and what a refused call is told.

Admission itself is in quota.h. A flood of refused calls must cost no more than served ones, so the trailers of a
refusal are encoded once for many calls: what they say is up to `FRESH_NS` old.
"""
import fcntl
import logging
import os
import random

cimport cython
from libc.stdint cimport int64_t, uint32_t
from posix.mman cimport MAP_FAILED, MAP_SHARED, PROT_READ, PROT_WRITE, mmap as map_memory, munmap

from posix.unistd cimport close

from prism_proxy._native.runtime.clock cimport monotonic_ns
from prism_proxy._native.grpc.wire import percent_encode

cdef enum:
    SLOTS = 1024
    FRESH_NS = 20_000_000
    VARIANTS = 8

_log = logging.getLogger("prism.server")
DIMENSIONS = (None, "requests_per_second", "concurrent_calls", "bytes_in_flight")
MAX_WORKERS = 256
LONGEST_NS = 2**61
LEAST_RETRY_SECONDS = 0.05      # when a call or a byte is free again, nobody knows
RETRY_SPREAD_SECONDS = 0.1
LONGEST_SPREAD_SECONDS = 10.0


cdef class SharedQuotaTable:
    """The page of one proxy. The supervisor makes it and workers map it by its inherited descriptor."""

    def __cinit__(self, int workers=1, int slots=SLOTS, *, fd=None, int worker=0):
        """A new page for `workers` processes and `slots` namespaces; or, with `fd`, the one of another process.

        OSError when memory cannot be had; ValueError for a descriptor that is no such page, or a worker it has no
        place for.
        """
        self.fd = -1
        if fd is None and not (1 <= workers <= MAX_WORKERS and 1 <= slots <= 1 << 20):
            raise ValueError(f"{workers} workers, {slots} slots: at most {MAX_WORKERS} and {1 << 20}")
        self.fd = os.memfd_create("prism-quotas") if fd is None else os.dup(fd)
        if fd is None:
            os.ftruncate(self.fd, quota_page_bytes(workers, slots))
        self.size = os.fstat(self.fd).st_size
        if self.size < quota_page_bytes(1, 1):
            raise ValueError("the descriptor is no page of quotas")
        cdef void* memory = map_memory(NULL, self.size, PROT_READ | PROT_WRITE, MAP_SHARED, self.fd, 0)
        if memory == MAP_FAILED:
            raise MemoryError("the page of quotas cannot be mapped")
        self.head = <quota_head_t*>memory
        if fd is None:
            self.head.magic = QUOTA_MAGIC
            self.head.cell_bytes = sizeof(quota_cell_t)
            self.head.workers = workers
            self.head.slots = slots
        elif (self.head.magic != QUOTA_MAGIC or self.head.cell_bytes != sizeof(quota_cell_t)
                or self.size < quota_page_bytes(self.head.workers, self.head.slots)):
            raise ValueError("the descriptor is no page of quotas")
        if not 0 <= worker < <int>self.head.workers:
            raise ValueError(f"the page has {self.head.workers} workers, none with number {worker}")
        self.worker = worker

    def __dealloc__(self):
        if self.head != NULL:
            munmap(self.head, self.size)
        if self.fd >= 0:
            close(self.fd)

    @property
    def workers(self) -> int:
        return self.head.workers

    def quota(self, str namespace not None, limits not None, explain not None) -> NamespaceQuota:
        """The quota of a namespace; see `prism_proxy.namespaces.quotas` for `limits` and `explain`.

        A quota of the same name, of any worker and with any limits, shares its counts and its bucket. ValueError when
        the page has no room.
        """
        cdef NamespaceQuota quota = NamespaceQuota.__new__(NamespaceQuota)
        cdef bytes name = namespace.encode()
        cdef double rate = limits.requests_per_second
        if len(name) > QUOTA_NAME_BYTES:
            raise ValueError(f"the name of namespace {namespace!r} is too long for limits")
        quota.namespace = namespace
        quota.explain = explain
        quota.trailers = [None] * REFUSALS
        quota.limits.workers = self.head.workers
        quota.limits.calls = limits.concurrent_calls
        quota.limits.bytes = limits.bytes_in_flight
        if rate > 0:
            quota.limits.interval_ns = max(1, round(1e9 / rate))
            quota.limits.tolerance_ns = min(LONGEST_NS, quota.limits.interval_ns * limits.burst_size)
        fcntl.lockf(self.fd, fcntl.LOCK_EX)
        try:
            quota.limits.slot = quota_find(self.head, name, <uint32_t>len(name))
            if quota.limits.slot == NULL:
                raise ValueError(f"no more than {self.head.slots} namespaces of a proxy can have limits")
            quota.limits.own = &quota.limits.slot.cells[self.worker]
            quota_give(&quota.limits.own.attached, -1)
            quota.page = self
        finally:
            fcntl.lockf(self.fd, fcntl.LOCK_UN)
        return quota

    def forget(self, uint32_t worker) -> None:
        """A worker died: give back the calls and bytes it held. Not for a worker that still runs."""
        if worker >= self.head.workers:
            raise ValueError(f"the page has {self.head.workers} workers, none with number {worker}")
        quota_forget(self.head, worker)


@cython.no_gc_clear     # a quota leaves its slot when it goes, so it needs the page until then
cdef class NamespaceQuota:
    def __dealloc__(self):
        if self.limits.own != NULL:
            quota_give(&self.limits.own.attached, 1)

    def admit(self, now_ns=None) -> int:
        """0, and the call owes `release`; or the index in DIMENSIONS of what refuses it."""
        return self.enter(monotonic_ns() if now_ns is None else now_ns)

    def admit_bytes(self, int64_t n) -> bool:
        """Take `n` more request bytes, unless that passes the limit."""
        return quota_take(&self.limits, &self.limits.own.bytes, n, self.limits.bytes)

    def release(self, int64_t held_bytes=0) -> None:
        """An admitted call is over, and what it held of `admit_bytes` is free."""
        self.leave(held_bytes)

    def usage(self, now_ns=None) -> dict[str, float]:
        """What this worker's calls use, by limited dimension: calls a second, calls, bytes. Workers' figures add up."""
        cdef dict out = {}
        if self.limits.interval_ns:
            out[DIMENSIONS[QUOTA_RATE]] = quota_arrival_rate(
                self.limits.own, monotonic_ns() if now_ns is None else now_ns)
        if self.limits.calls:
            out[DIMENSIONS[QUOTA_CALLS]] = float(quota_load(&self.limits.own.calls))
        if self.limits.bytes:
            out[DIMENSIONS[QUOTA_BYTES]] = float(quota_load(&self.limits.own.bytes))
        return out

    def refused(self) -> dict[str, int]:
        """Calls refused by this worker, by limited dimension."""
        cdef int kind
        limited = (0, self.limits.interval_ns, self.limits.calls, self.limits.bytes)
        return {DIMENSIONS[kind]: quota_load(&self.limits.own.refused[kind])
                for kind in range(1, QUOTA_DIMENSIONS) if limited[kind]}

    def limiting(self, int64_t within_ns, now_ns=None) -> list[str]:
        """The dimensions that refused a call, in any worker, within the last `within_ns`."""
        cdef int kind
        cdef uint32_t worker
        cdef int64_t last, now = monotonic_ns() if now_ns is None else now_ns
        cdef list out = []
        for kind in range(1, QUOTA_DIMENSIONS):
            last = 0
            for worker in range(self.limits.workers):
                last = max(last, quota_load(&self.limits.slot.cells[worker].refused_ns[kind]))
            if last and now - last <= within_ns:
                out.append(DIMENSIONS[kind])
        return out

    cdef list refusal(self, int kind, int64_t now_ns, object describe):
        """The trailers of a refused call, `describe` being that of `prism_proxy.errors`. Counts bytes' refusals."""
        cdef int64_t late = quota_load(&self.limits.own.late)
        if kind >= TOO_MANY_BYTES:
            quota_count_refusal(self.limits.own, TOO_MANY_BYTES, now_ns)
        if self.trailers[kind] is None or now_ns >= self.stale_ns[kind] or late > 2 * self.late:
            try:
                self.trailers[kind] = self.encode(kind, now_ns, describe)
            except Exception as error:
                _log.error("a refusal could not be encoded", exc_info=error)
                return [(b"grpc-status", b"8")]
            self.stale_ns[kind] = now_ns + FRESH_NS
            self.late = late
        self.answered += 1
        return self.trailers[kind][self.answered % VARIANTS]

    cdef list encode(self, int kind, int64_t now_ns, object describe):
        """Variants of the trailers that differ in how long they tell stock retry policies to wait."""
        cdef int variant
        cdef list out = []
        error, spread = self.explained(kind, now_ns)
        code, message, extra = describe(error, "")
        common = [(b"grpc-status", b"%d" % code), (b"grpc-message", percent_encode(message)),
                  *(pair for pair in extra if pair[0] not in (b"x-request-id", b"grpc-retry-pushback-ms"))]
        for variant in range(VARIANTS):
            wait = b"-1"
            if error.retry_after is not None:
                wait = b"%d" % round(1000 * (error.retry_after + spread * (variant + random.random()) / VARIANTS))
            out.append([*common, (b"grpc-retry-pushback-ms", wait)])
        return out

    def explained(self, int kind, int64_t now_ns):
        """(the PrismError of a refusal with what is in use now, the seconds over which callers should come again)."""
        cdef double arriving = 0, late = 0, retry = LEAST_RETRY_SECONDS, spread = RETRY_SPREAD_SECONDS, reset
        cdef uint32_t worker
        cdef int64_t current, next_ns, full_ns = quota_load(&self.limits.slot.full_ns)
        reset = retry + spread
        if kind == RATE_EXCEEDED:
            for worker in range(self.limits.workers):
                arriving += quota_arrival_rate(&self.limits.slot.cells[worker], now_ns)
                late += quota_refusal_rate(&self.limits.slot.cells[worker], now_ns)
            current = <int64_t>arriving
            next_ns = full_ns + self.limits.interval_ns - self.limits.tolerance_ns
            retry = max((next_ns - now_ns) // 1_000_000 + 1, 1) / 1e3
            reset = max(full_ns - now_ns, 0) / 1e9
            spread = min(late * self.limits.interval_ns / 1e9, LONGEST_SPREAD_SECONDS)
        elif kind == TOO_MANY_CALLS:
            current = quota_sum(&self.limits, &self.limits.own.calls)
        else:
            current = quota_sum(&self.limits, &self.limits.own.bytes)
        return self.explain(
            DIMENSIONS[min(kind, <int>TOO_MANY_BYTES)], current, retry_after=None if kind > TOO_MANY_BYTES else retry,
            reset_after=reset, executed=kind == STREAM_BYTES, fits=kind != MESSAGE_NEVER_FITS), spread
