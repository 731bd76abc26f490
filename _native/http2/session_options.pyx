"""What an HTTP/2 session is created with: nghttp2's options and our first SETTINGS, from the limits."""
from libc.stdint cimport int32_t, int64_t, uint32_t

from prism_proxy._native.http2.limits cimport NativeLimits
from prism_proxy._native.http2.nghttp2 cimport *


cdef nghttp2_option* session_options(NativeLimits limits, bint server) except NULL:
    """The caller deletes them."""
    cdef nghttp2_option* options = NULL
    if nghttp2_option_new(&options) != 0:
        raise MemoryError
    nghttp2_option_set_no_auto_window_update(options, 1)
    nghttp2_option_set_max_outbound_ack(options, limits.control_queue_close)
    nghttp2_option_set_max_settings(options, limits.settings_entries)
    nghttp2_option_set_max_continuations(options, limits.continuation_frames)
    # Resets are counted by FloodGuard, which knows which of them are honest cancellations.
    nghttp2_option_set_stream_reset_rate_limit(options, <unsigned long long>1 << 62, <unsigned long long>1 << 62)
    nghttp2_option_set_max_send_header_block_length(options, 1 << 20)
    if not server:
        # A grpc-message may end with a blank, and such a reply is not worth a reset.
        nghttp2_option_set_no_rfc9113_leading_and_trailing_ws_validation(options, 1)
    return options


cdef void submit_first_settings(nghttp2_session* h2, NativeLimits limits, int64_t concurrent_streams) noexcept:
    """Queue SETTINGS and the window of the connection. A client gives -1 as `concurrent_streams`: it takes no push."""
    cdef nghttp2_settings_entry settings[5]
    settings[0] = nghttp2_settings_entry(NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, <uint32_t>limits.stream_window)
    settings[1] = nghttp2_settings_entry(NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, <uint32_t>limits.header_list_bytes)
    settings[2] = nghttp2_settings_entry(NGHTTP2_SETTINGS_HEADER_TABLE_SIZE, <uint32_t>limits.hpack_table_bytes)
    settings[3] = nghttp2_settings_entry(NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1)
    settings[4] = nghttp2_settings_entry(NGHTTP2_SETTINGS_ENABLE_PUSH, 0)
    if concurrent_streams >= 0:
        settings[4] = nghttp2_settings_entry(NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, <uint32_t>concurrent_streams)
    nghttp2_submit_settings(h2, 0, settings, 5)
    nghttp2_session_set_local_window_size(h2, 0, 0, <int32_t>limits.connection_window)
