"""Serves a method by an ordinary grpcio servicer: one task per call, and a context with grpc.aio's interface.

Behaviour follows `grpc.aio.server` call by call, which the differential tests hold it to: what a handler may raise,
when metadata goes out, what a message beside a bad status means. Synchronous behaviours arrive here already adapted
to coroutines (`prism_proxy.server.sync_servicer`).
"""
import asyncio
import inspect
import logging
from collections import namedtuple

import grpc
from grpc.aio import AbortError, EOF, UsageError

from cpython.bytes cimport PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint8_t

from prism_proxy._native.grpc.call cimport Handler, ServerStream
from prism_proxy._native.grpc.call_watch cimport trace_ids
from prism_proxy._native.runtime.clock cimport monotonic_ns
from prism_proxy._native.grpc.core cimport ServerCore
from prism_proxy._native.envelope.framed cimport BorrowedMessage, FramedMessage
from prism_proxy._native.http2.limits cimport SERVICER_BACKLOG
from prism_proxy._native.grpc.replies cimport OutputSource, send_borrowed, send_framed, send_message
from prism_proxy._native.grpc.servicer_queue cimport CostMeter, QueuedCall
from prism_proxy._native.grpc.unread cimport UnreadMessages
from prism_proxy._native.grpc.wire cimport checked_metadata, encode_metadata

from prism_proxy._native.grpc.auth_context import auth_context, identities
from prism_proxy._native.grpc.wire import gzip_bytes

cdef enum:
    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    UNIMPLEMENTED = 12
    RESOURCE_EXHAUSTED = 8
    INTERNAL = 13
    OUTPUT_HIGH_WATER = 1 << 18     # a writer waits above this many unsent bytes, until half of them are gone
    COMPRESS_OFF_LOOP = 1 << 16

_log = logging.getLogger("prism.server")
_Metadatum = namedtuple("_Metadatum", ("key", "value"))     # grpcio's form of an item of metadata


cdef int code_number(object code) except -1:
    """The number of a grpc.StatusCode, or of an int that is one."""
    if isinstance(code, grpc.StatusCode):
        return code.value[0]
    if isinstance(code, int) and 0 <= code <= 16:
        return code
    return UNKNOWN


cdef void shed(ServerStream stream) noexcept:
    """Refuse a call because the loop is behind by too many already; this must cost a fraction of serving it."""
    cdef ServerCore core = stream.core
    core.limits.hits[SERVICER_BACKLOG] += 1
    try:
        if core.shed_trailers is None:
            core.shed_trailers = core.encode_shed()
        stream.end_with(RESOURCE_EXHAUSTED,
                        core.shed_trailers[core.limits.hits[SERVICER_BACKLOG] % <size_t>len(core.shed_trailers)])
    except Exception as error:
        _log.error("a refusal could not be encoded", exc_info=error)
        stream.end_with(RESOURCE_EXHAUSTED, [(b"grpc-status", b"8")])


cdef class ServicerHandler(Handler):
    """Adapts one grpc.RpcMethodHandler, all four kinds."""
    cdef object deserialize, serialize, behaviour
    cdef CostMeter meter
    cdef bint response_streaming, yields
    cdef object find        # the handler of a call by (path, metadata), a coroutine: of servers with interceptors

    def __cinit__(self, method_handler, behaviour):
        self.request_streaming = method_handler.request_streaming
        self.response_streaming = method_handler.response_streaming
        self.deserialize = method_handler.request_deserializer
        self.serialize = method_handler.response_serializer
        self.behaviour = behaviour
        self.meter = CostMeter()
        self.yields = inspect.isasyncgenfunction(behaviour) or hasattr(behaviour, "__anext__")

    @staticmethod
    def finding(find) -> ServicerHandler:
        """A handler that serves each call by whatever handler `find` names for it; None: there is no such method."""
        cdef ServicerHandler self = ServicerHandler(grpc.stream_stream_rpc_method_handler(None), None)
        self.find = find
        return self

    cdef void on_start(self, ServerStream stream) noexcept:
        cdef Context context
        # Health checks and the like have no namespace: they must be answered when calls are not.
        if stream.route is not None and not self.admits(stream):
            shed(stream)
            return
        context = Context.__new__(Context)
        context.stream = stream
        context.handler = self
        context.loop = stream.core.loop
        context.status = OK
        context.status_details = ""
        stream.call = context
        if stream.core.watch is not None and stream.core.watch.traces:
            stream.core.watch.trace(stream)
            context.spans = []
        if stream.deadline_ns:
            delay = (stream.deadline_ns - monotonic_ns()) / 1e9
            stream.deadline_timer = context.loop.call_later(delay if delay > 0 else 0, context.deadline_reached)
        if self.request_streaming:
            context.unread = UnreadMessages()
            self.launch(context, None)

    cdef bint admits(self, ServerStream stream) noexcept:
        cdef ServerCore core = stream.core
        cdef int64_t left = stream.deadline_ns - monotonic_ns() if stream.deadline_ns else 0
        return core.servicer_backlog < core.limits.servicer_backlog and core.queue.admits(self.meter, left)

    cdef void launch(self, Context context, object request):
        context.stream.handler_started()
        context.stream.core.servicer_backlog += 1
        context.request = request
        context.meter = self.meter
        if context.stream.route is None:
            context.dispatch(0)
        else:
            context.stream.core.queue.add(context, monotonic_ns())

    cdef void on_message(self, ServerStream stream, const uint8_t* data, size_t n) noexcept:
        cdef Context context = stream.call
        if context is None:
            return      # shed
        if not self.request_streaming:
            self.launch(context, PyBytes_FromStringAndSize(<char*>data, n))
            return
        context.keep(data, n)

    cdef void on_end(self, ServerStream stream) noexcept:
        cdef Context context = stream.call
        if context is not None:
            context.half_closed = True
            context.wake_reader()

    cdef void on_cancel(self, ServerStream stream, int code) noexcept:
        cdef Context context = stream.call
        if context is not None:
            context.cancel_from_transport(code)

    cdef void on_drain(self, ServerStream stream) noexcept:
        cdef Context context = stream.call
        if context is not None and context.draining is not None:
            context.loop.call_soon(context.draining)

    cdef void on_output_drained(self, ServerStream stream) noexcept:
        cdef Context context = stream.call
        if context is not None and context.source is not None:
            context.source.pump()
        if context is not None and context.writer is not None and stream.out_bytes <= OUTPUT_HIGH_WATER // 2:
            if not context.writer.done():
                context.writer.set_result(None)


cdef class Context(QueuedCall):
    """The `grpc.aio.ServicerContext` of a call; `route` is the namespace's route when the method has one."""
    cdef ServerStream stream
    cdef ServicerHandler handler
    cdef object loop, task, reader, writer
    cdef bytes request              # until it begins
    cdef object draining            # called when the connection is to end, where the call lasts as long as it wants
    cdef UnreadMessages unread      # of a stream of requests
    cdef bint begun, half_closed, transport_gone, aborted, initial_sent, finished
    cdef bint compression_disabled
    cdef object compression
    cdef int status
    cdef object status_details, given_code
    cdef object trailing
    cdef object callbacks
    cdef OutputSource source        # of messages that do not pass `write`
    cdef public int64_t answered_before     # requests of the stream that a native handler answered, before this call
    cdef readonly list spans        # of what happens within the call, where somebody may want to see them
    cdef object __weakref__

    @property
    def trace(self):
        """(trace, span, parent) of the call, where calls are traced; see `call_watch.trace_ids`."""
        return trace_ids(self.stream)

    @property
    def streaming(self):
        """Whether either side sends a stream: how long the call lasts is then its caller's wish."""
        return self.handler.request_streaming or self.handler.response_streaming

    # --- the call -----------------------------------------------------------------------------------------------

    cdef bint dispatch(self, int64_t now_ns):
        if self.stream.deadline_ns and now_ns + <int64_t>self.meter.ns > self.stream.deadline_ns:
            self.stream.deadline_passed()
        if self.transport_gone or self.stream.answered:
            self.over()
            return False
        request, self.request = self.request, None
        self.task = self.loop.create_task(self.run(request))
        self.task.add_done_callback(self.ended)
        return True

    async def run(self, bytes request):
        cdef ServicerHandler handler = self.handler
        self.begin()
        if self.given:
            self.stream.core.queue.begins(self)
        try:
            if handler.find is not None:
                self.handler = handler = await handler.find(self.stream.header_text(self.stream.path),
                                                            self.invocation_metadata())
                if handler is None:
                    self.stream.finish(UNIMPLEMENTED, "Method not found!", None, None)
                    return
                if not handler.request_streaming and (request := await self.only_message()) is None:
                    self.stream.fail(UNIMPLEMENTED, "WRONG_NUMBER_OF_MESSAGES",
                                     "this method takes exactly one request message")
                    return
            if handler.request_streaming:
                argument = RequestIterator(self)
            else:
                argument = self.parse(request)
            if handler.response_streaming:
                if handler.yields:
                    async for response in handler.behaviour(argument, self):
                        if self.aborted or self.transport_gone or self.stream.answered:
                            break
                        await self.write(response)
                else:
                    await handler.behaviour(argument, self)
                self.conclude(None)
            else:
                self.conclude(await handler.behaviour(argument, self))
        except AbortError:
            if not self.aborted:
                self.unexpected(AbortError("abort was not called on this context"))
        except asyncio.CancelledError:
            if not self.transport_gone and not self.stream.answered:
                self.stream.finish(UNKNOWN, "RPC cancelled by the servicer", None, None)
            raise
        except DecodeFailure as error:
            self.stream.fail(INTERNAL, "UNDECODABLE_REQUEST", str(error))
        except Exception as error:
            self.unexpected(error)
        finally:
            # Not when the task is reaped: its answer may be sent, and the caller's next call read, before that.
            self.stream.core.queue.ends(self)
            self.stream.handler_finished()

    cdef void begin(self) noexcept:
        if not self.begun:
            self.begun = True
            self.stream.core.servicer_backlog -= 1

    cdef object parse(self, bytes data):
        if self.handler.deserialize is None:
            return data
        try:
            return self.handler.deserialize(data)
        except Exception as error:
            # The caller's mistake, and told to the caller: at a higher level, rubbish would fill the log.
            _log.debug("a request could not be decoded: %s", error)
            raise DecodeFailure(f"Exception deserializing request! {type(error).__name__}") from None

    cdef void unexpected(self, object error):
        _log.error("unexpected exception in a servicer", exc_info=error)
        if not self.aborted:
            # A status set before the exception stands: generated servicers raise NotImplementedError that way.
            self.end(self.status or UNKNOWN, f"Unexpected {type(error)}: {error}")

    cdef void conclude(self, object response):
        """The behaviour returned: send the message of a unary reply (status OK only) and the status."""
        if self.aborted or self.transport_gone:
            return
        if self.status == OK and not self.handler.response_streaming:
            self.send(response)
        self.end(self.status, self.status_details if self.status != OK or self.status_details else None)

    cdef void end(self, int code, object details):
        """Send the status, with the servicer's trailing metadata where they can be sent."""
        try:
            trailers = encode_metadata(self.trailing) if self.trailing else None
        except (ValueError, TypeError) as error:
            self.invalid_metadata(error)
            return
        self.stream.finish(code, details, None, trailers)

    cdef void invalid_metadata(self, object error):
        """As grpcio says it; which of them, and why, is for the log of whoever runs the servicer."""
        _log.error("metadata of a servicer cannot be sent: %s", error)
        self.aborted = True
        self.stream.finish(INTERNAL, "Invalid metadata", None, None)

    def ended(self, task):
        """The task is over, or was cancelled before it ran."""
        self.stream.core.queue.ends(self)
        if not task.cancelled() and task.exception() is not None:
            self.loop.call_exception_handler({"message": "a call ended by an exception", "exception": task.exception()})
        self.over()

    cdef void over(self):
        """Its task has ended, or there never was one."""
        self.begin()
        self.stream.handler_finished()
        self.drop_unread()
        if not self.stream.answered:
            self.stream.finish(UNKNOWN, "the servicer was cancelled", None, None)
        self.stream.call = None
        if self.source is not None:
            self.source.gone()
            self.source = None
        self.finished = True
        self.run_callbacks()

    cdef void run_callbacks(self):
        callbacks, self.callbacks = self.callbacks, None
        for callback in callbacks or ():
            callback(self)

    cdef void cancel_from_transport(self, int code):
        """The caller is gone or out of time: cancel the task and wake whatever it waits for."""
        self.transport_gone = True
        self.drop_unread()
        self.wake_reader()
        if self.task is not None and not self.task.done():
            self.task.cancel()

    def deadline_reached(self):
        self.stream.deadline_passed()

    def outlast(self, draining) -> None:
        """The call lasts as long as its caller wants: it may read slowly, and `draining()` ends it when the connection
        is to end."""
        self.draining = draining
        self.stream.lasting = True
        if self.stream.connection is not None and self.stream.connection.is_ending():
            self.loop.call_soon(draining)

    # --- messages -----------------------------------------------------------------------------------------------

    cdef void keep(self, const uint8_t* data, size_t n) noexcept:
        """Queue a message until the servicer reads it."""
        cdef int64_t before = self.unread.held
        if not self.unread.keep(data, n):
            self.stream.fail(8, "OUT_OF_MEMORY", "no memory for the request message")
            return
        self.stream.queued_bytes += 4 + n
        self.stream.account(self.unread.held - before)
        self.wake_reader()

    cdef bytes next_unread(self):
        cdef int64_t before = self.unread.held
        cdef bytes message = self.unread.take()
        self.stream.account(self.unread.held - before)
        self.stream.credit_taken(4 + PyBytes_GET_SIZE(message))
        return message

    cdef void drop_unread(self) noexcept:
        """The call is over: nothing will be read any more."""
        if self.unread is not None:
            self.stream.account(-self.unread.held)
            self.unread.drop()
        self.stream.queued_bytes = 0

    cdef void wake_reader(self):
        if self.reader is not None and not self.reader.done():
            self.reader.set_result(None)

    async def read(self):
        """The next request message, or grpc.aio.EOF."""
        if not self.handler.request_streaming:
            raise UsageError("a unary request has no stream to read")
        message = await self.next_message()
        return EOF if message is None else self.parse(message)

    async def only_message(self):
        """The one message of a request that arrives as a stream; None when there is none, or another."""
        message = await self.next_message()
        return message if message is None or await self.next_message() is None else None

    async def next_message(self):
        if self.reader is not None:
            raise UsageError("another read is in progress")
        while self.unread.empty():
            if self.transport_gone:
                raise asyncio.CancelledError
            if self.half_closed:
                return None
            self.reader = self.loop.create_future()
            try:
                await self.reader
            finally:
                self.reader = None
        return self.next_unread()

    async def write(self, message):
        """Send a reply message; waits while the caller is slow."""
        if not self.handler.response_streaming:
            raise UsageError("a unary reply is returned, not written")
        if self.aborted or self.stream.answered:
            raise UsageError("the RPC has already finished")
        if self.transport_gone:
            raise asyncio.CancelledError
        if type(message) is FramedMessage:
            send_framed(self.stream, (<FramedMessage>message).framed)
            self.initial_sent = True
        elif type(message) is BorrowedMessage:
            send_borrowed(self.stream, <BorrowedMessage>message)
            self.initial_sent = True
        elif self.compression is not None and not self.compression_disabled:
            await self.send_compressed(message)
        else:
            self.send(message)
        while self.stream.out_bytes > OUTPUT_HIGH_WATER and not self.transport_gone:
            self.writer = self.loop.create_future()
            try:
                await self.writer
            finally:
                self.writer = None

    def outlet(self, counters, total, policy, messages, size, last, slow):
        """A bounded queue of messages that go to the caller without `write`; see `Outlet`."""
        from prism_proxy._native.grpc.outlet import Outlet  # few processes have subscriptions
        self.source = Outlet(self.stream, counters, total, policy, messages, size, last, slow)
        return self.source

    cdef bytes serialize(self, object message):
        cdef bytes data = message if self.handler.serialize is None else self.handler.serialize(message)
        return b"" if data is None else data    # as grpc.aio does for a method that returned nothing

    cdef void send(self, object message) except *:
        cdef bytes data = self.serialize(message)
        cdef bint compressed = False
        if self.compression is not None and not self.compression_disabled and self.accepts_gzip():
            data = gzip_bytes(data)
            compressed = True
        self.compression_disabled = False
        self.initial_sent = True
        send_message(self.stream, data, compressed)

    async def send_compressed(self, message):
        data = self.serialize(message)
        if not self.accepts_gzip():
            send_message(self.stream, data, False)
        elif len(data) <= COMPRESS_OFF_LOOP:
            send_message(self.stream, gzip_bytes(data), True)
        else:
            data = await self.loop.run_in_executor(self.stream.core.executor, gzip_bytes, data)
            send_message(self.stream, data, True)
        self.initial_sent = True

    cdef bint accepts_gzip(self):
        return "gzip" in self.stream.header_text(self.stream.accept_encoding)

    # --- grpc.aio.ServicerContext -------------------------------------------------------------------------------

    @property
    def route(self):
        return None if self.stream.route is None else self.stream.route.route

    def request_id(self) -> str | None:
        return self.stream.header_text(self.stream.request_id) if self.stream.request_id.length else None

    def request_compressed(self) -> bool:
        """Whether the last message that arrived was sent compressed."""
        return self.stream.compressed

    def invocation_metadata(self):
        return tuple([_Metadatum._make(pair) for pair in self.stream.metadata()])

    def peer(self):
        return self.stream.connection.peer

    def peer_identities(self):
        return identities(self.stream.connection.ssl_object)[1]

    def peer_identity_key(self):
        return identities(self.stream.connection.ssl_object)[0]

    def auth_context(self):
        return auth_context(self.stream.connection.ssl_object)

    def time_remaining(self):
        if self.stream.deadline_ns == 0:
            return None
        left = (self.stream.deadline_ns - monotonic_ns()) / 1e9
        return left if left > 0 else 0.0

    async def send_initial_metadata(self, initial_metadata):
        if self.initial_sent:
            raise UsageError("Send initial metadata failed: already sent")
        if self.transport_gone or self.stream.answered:
            raise UsageError("the RPC has already finished")
        try:
            encoded = encode_metadata(initial_metadata or ())
        except (ValueError, TypeError) as error:
            self.invalid_metadata(error)
            raise AbortError("Invalid metadata") from error
        self.initial_sent = True
        self.add_initial(encoded)
        self.stream.send_head(False)
        self.stream.session.schedule_flush()

    cdef void add_initial(self, list pairs):
        self.stream.initial_metadata = (self.stream.initial_metadata or []) + pairs

    def set_trailing_metadata(self, trailing_metadata):
        self.trailing = checked_metadata(trailing_metadata)

    def trailing_metadata(self):
        return self.trailing or ()

    def set_compression(self, compression):
        if self.initial_sent:
            raise RuntimeError("Compression setting must be specified before sending initial metadata")
        algorithm = compression if isinstance(compression, int) else getattr(compression, "value", 0)
        if int(algorithm) and self.accepts_gzip():
            self.compression = algorithm
            self.add_initial([(b"grpc-encoding", b"gzip")])

    def disable_next_message_compression(self):
        self.compression_disabled = True

    async def abort(self, code, details="", trailing_metadata=()):
        if self.aborted:
            raise UsageError("Abort already called!")
        if code_number(code) == OK:
            raise ValueError("abort needs a status other than OK")
        if trailing_metadata:
            self.trailing = checked_metadata(trailing_metadata)
        self.given_code = code
        self.status = code_number(code)
        self.status_details = details or self.status_details or ""
        self.aborted = True
        self.end(self.status, self.status_details)
        raise AbortError("Locally aborted.")

    async def abort_with_status(self, status):
        await self.abort(status.code, status.details, status.trailing_metadata or ())

    def set_code(self, code):
        self.given_code = code
        self.status = code_number(code)

    def code(self):
        return self.given_code

    def set_details(self, str details not None):
        self.status_details = details

    def details(self):
        return self.status_details

    def add_done_callback(self, callback):
        if self.callbacks is None:
            self.callbacks = []
        self.callbacks.append(callback)

    def cancelled(self):
        return self.transport_gone

    def done(self):
        return self.finished or self.transport_gone or self.stream.answered


class DecodeFailure(Exception):
    """A request message the servicer's deserializer refuses."""


class RequestIterator:
    """The request stream as grpc.aio hands it to servicers."""

    def __init__(self, context):
        self._context = context

    def __aiter__(self):
        return self

    async def __anext__(self):
        if (message := await self._context.read()) is EOF:
            raise StopAsyncIteration
        return message
