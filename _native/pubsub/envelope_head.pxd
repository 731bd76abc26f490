"""What stands before the payload in the envelope of a published message."""
from libc.stdint cimport int64_t, uint8_t

from prism_proxy._native.envelope.codec cimport Writer
from prism_proxy._native.grpc.call cimport ServerStream
from prism_proxy._native.pubsub.publish cimport publish_request_t
from prism_proxy._native.schema.check cimport DeclaredSchema

cdef enum:
    MAX_PARTS = 2048                # for metadata and trace
    MAX_HEAD = MAX_PARTS + 1024     # bytes that `envelope_head` may write


cdef size_t envelope_head(ServerStream stream, Writer writer, const publish_request_t* request,
                          DeclaredSchema declared, const uint8_t* message_id, int64_t now, uint8_t* out) noexcept
