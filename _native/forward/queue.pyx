"""The calls that are being forwarded to one peer, and among them the queue of those that wait for a connection.

The links stand in the calls and own nothing: a call is held by its caller's stream until it leaves both lists.
"""
from prism_proxy._native.grpc.call cimport Handler
from prism_proxy._native.forward.request cimport ForwardRequest


cdef class ForwardQueue(Handler):
    cdef void enlist(self, ForwardRequest call) noexcept:
        call.older = self.newest
        if self.newest != NULL:
            (<ForwardRequest>self.newest).newer = <void*>call
        self.newest = <void*>call
        self.calls += 1

    cdef void forget(self, ForwardRequest call) noexcept:
        if call.newer != NULL:
            (<ForwardRequest>call.newer).older = call.older
        else:
            self.newest = call.older
        if call.older != NULL:
            (<ForwardRequest>call.older).newer = call.newer
        call.newer = call.older = NULL
        self.calls -= 1

    cdef void queue(self, ForwardRequest call) noexcept:
        call.waiting = True
        call.next = NULL
        call.previous = self.last_waiting
        if self.last_waiting != NULL:
            (<ForwardRequest>self.last_waiting).next = <void*>call
        else:
            self.first_waiting = <void*>call
        self.last_waiting = <void*>call
        self.waiting += 1
        self.waiting_bytes += call.out_bytes

    cdef void unqueue(self, ForwardRequest call) noexcept:
        if call.previous != NULL:
            (<ForwardRequest>call.previous).next = call.next
        else:
            self.first_waiting = call.next
        if call.next != NULL:
            (<ForwardRequest>call.next).previous = call.previous
        else:
            self.last_waiting = call.previous
        call.next = call.previous = NULL
        call.waiting = False
        self.waiting -= 1
        self.waiting_bytes -= call.out_bytes
