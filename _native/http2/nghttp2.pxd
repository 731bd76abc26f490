"""The part of libnghttp2 that the frame layer uses. Only session.pyx may cimport this."""
from libc.stdint cimport int32_t, uint8_t, uint32_t

cdef extern from "sys/types.h" nogil:
    ctypedef long ssize_t

cdef extern from "nghttp2/nghttp2.h" nogil:
    ctypedef struct nghttp2_session
    ctypedef struct nghttp2_session_callbacks
    ctypedef struct nghttp2_option

    ctypedef struct nghttp2_nv:
        uint8_t* name
        uint8_t* value
        size_t namelen
        size_t valuelen
        uint8_t flags

    ctypedef struct nghttp2_settings_entry:
        int32_t settings_id
        uint32_t value

    ctypedef struct nghttp2_frame_hd:
        size_t length
        int32_t stream_id
        uint8_t type
        uint8_t flags

    ctypedef struct nghttp2_headers:
        int cat

    ctypedef struct nghttp2_rst_stream:
        uint32_t error_code

    ctypedef struct nghttp2_ping:
        uint8_t opaque_data[8]

    ctypedef struct nghttp2_goaway:
        int32_t last_stream_id
        uint32_t error_code
        uint8_t* opaque_data
        size_t opaque_data_len

    ctypedef struct nghttp2_settings:
        size_t niv

    ctypedef union nghttp2_frame:
        nghttp2_frame_hd hd
        nghttp2_headers headers
        nghttp2_rst_stream rst_stream
        nghttp2_ping ping
        nghttp2_goaway goaway
        nghttp2_settings settings

    ctypedef union nghttp2_data_source:
        int fd
        void* ptr


# Callbacks run with the GIL, so these two stand outside the nogil block.
cdef extern from "nghttp2/nghttp2.h":
    ctypedef ssize_t (*nghttp2_data_source_read_callback)(
        nghttp2_session*, int32_t, uint8_t*, size_t, uint32_t*, nghttp2_data_source*, void*) noexcept

    ctypedef struct nghttp2_data_provider:
        nghttp2_data_source source
        nghttp2_data_source_read_callback read_callback

cdef extern from "nghttp2/nghttp2.h" nogil:
    int NGHTTP2_FLAG_END_STREAM, NGHTTP2_FLAG_ACK, NGHTTP2_FLAG_PADDED
    int NGHTTP2_DATA, NGHTTP2_HEADERS, NGHTTP2_PRIORITY, NGHTTP2_RST_STREAM, NGHTTP2_SETTINGS, NGHTTP2_PING
    int NGHTTP2_GOAWAY, NGHTTP2_WINDOW_UPDATE, NGHTTP2_CONTINUATION
    int NGHTTP2_HCAT_REQUEST
    int NGHTTP2_DATA_FLAG_EOF, NGHTTP2_DATA_FLAG_NO_END_STREAM, NGHTTP2_DATA_FLAG_NO_COPY
    int NGHTTP2_NV_FLAG_NONE, NGHTTP2_NV_FLAG_NO_INDEX, NGHTTP2_NV_FLAG_NO_COPY_NAME, NGHTTP2_NV_FLAG_NO_COPY_VALUE
    int NGHTTP2_SETTINGS_HEADER_TABLE_SIZE, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS
    int NGHTTP2_SETTINGS_ENABLE_PUSH
    int NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE
    int NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES
    int NGHTTP2_ERR_DEFERRED, NGHTTP2_ERR_CALLBACK_FAILURE, NGHTTP2_ERR_FLOODED
    int NGHTTP2_ERR_TOO_MANY_CONTINUATIONS, NGHTTP2_ERR_BAD_CLIENT_MAGIC, NGHTTP2_ERR_TOO_MANY_SETTINGS

    const char* nghttp2_strerror(int code)

    int nghttp2_option_new(nghttp2_option**)
    void nghttp2_option_del(nghttp2_option*)
    void nghttp2_option_set_no_auto_window_update(nghttp2_option*, int)
    void nghttp2_option_set_no_closed_streams(nghttp2_option*, int)
    void nghttp2_option_set_max_outbound_ack(nghttp2_option*, size_t)
    void nghttp2_option_set_max_settings(nghttp2_option*, size_t)
    void nghttp2_option_set_max_continuations(nghttp2_option*, size_t)
    void nghttp2_option_set_stream_reset_rate_limit(nghttp2_option*, unsigned long long, unsigned long long)
    void nghttp2_option_set_max_send_header_block_length(nghttp2_option*, size_t)
    void nghttp2_option_set_no_rfc9113_leading_and_trailing_ws_validation(nghttp2_option*, int)

    int nghttp2_session_callbacks_new(nghttp2_session_callbacks**)
    void nghttp2_session_callbacks_del(nghttp2_session_callbacks*)
    void nghttp2_session_callbacks_set_on_begin_frame_callback(nghttp2_session_callbacks*, void*)
    void nghttp2_session_callbacks_set_on_begin_headers_callback(nghttp2_session_callbacks*, void*)
    void nghttp2_session_callbacks_set_on_header_callback(nghttp2_session_callbacks*, void*)
    void nghttp2_session_callbacks_set_on_data_chunk_recv_callback(nghttp2_session_callbacks*, void*)
    void nghttp2_session_callbacks_set_on_frame_recv_callback(nghttp2_session_callbacks*, void*)
    void nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(nghttp2_session_callbacks*, void*)
    void nghttp2_session_callbacks_set_on_frame_send_callback(nghttp2_session_callbacks*, void*)
    void nghttp2_session_callbacks_set_on_stream_close_callback(nghttp2_session_callbacks*, void*)
    void nghttp2_session_callbacks_set_send_data_callback(nghttp2_session_callbacks*, void*)

    int nghttp2_session_server_new2(nghttp2_session**, nghttp2_session_callbacks*, void*, nghttp2_option*)
    int nghttp2_session_client_new2(nghttp2_session**, nghttp2_session_callbacks*, void*, nghttp2_option*)
    void nghttp2_session_del(nghttp2_session*)
    ssize_t nghttp2_session_mem_recv(nghttp2_session*, const uint8_t*, size_t)
    ssize_t nghttp2_session_mem_send(nghttp2_session*, const uint8_t**)
    int nghttp2_session_want_read(nghttp2_session*)
    int nghttp2_session_want_write(nghttp2_session*)
    size_t nghttp2_session_get_outbound_queue_size(nghttp2_session*)
    void* nghttp2_session_get_stream_user_data(nghttp2_session*, int32_t)
    int nghttp2_session_set_stream_user_data(nghttp2_session*, int32_t, void*)
    int nghttp2_session_resume_data(nghttp2_session*, int32_t)
    int nghttp2_session_consume_connection(nghttp2_session*, size_t)
    int nghttp2_session_consume_stream(nghttp2_session*, int32_t, size_t)
    int nghttp2_session_set_local_window_size(nghttp2_session*, uint8_t, int32_t, int32_t)
    int32_t nghttp2_session_get_last_proc_stream_id(nghttp2_session*)
    int nghttp2_session_check_request_allowed(nghttp2_session*)
    uint32_t nghttp2_session_get_remote_settings(nghttp2_session*, int)

    int nghttp2_submit_settings(nghttp2_session*, uint8_t, const nghttp2_settings_entry*, size_t)
    int nghttp2_submit_response(nghttp2_session*, int32_t, const nghttp2_nv*, size_t, const nghttp2_data_provider*)
    int32_t nghttp2_submit_request(nghttp2_session*, void*, const nghttp2_nv*, size_t, const nghttp2_data_provider*,
                                   void*)
    int nghttp2_submit_trailer(nghttp2_session*, int32_t, const nghttp2_nv*, size_t)
    int nghttp2_submit_rst_stream(nghttp2_session*, uint8_t, int32_t, uint32_t)
    int nghttp2_submit_goaway(nghttp2_session*, uint8_t, int32_t, uint32_t, const uint8_t*, size_t)
    int nghttp2_submit_shutdown_notice(nghttp2_session*)
    int nghttp2_submit_ping(nghttp2_session*, uint8_t, const uint8_t*)
    int nghttp2_session_terminate_session(nghttp2_session*, uint32_t)
