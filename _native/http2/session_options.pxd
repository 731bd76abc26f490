from libc.stdint cimport int64_t

from prism_proxy._native.http2.limits cimport NativeLimits
from prism_proxy._native.http2.nghttp2 cimport nghttp2_option, nghttp2_session

cdef nghttp2_option* session_options(NativeLimits limits, bint server) except NULL
cdef void submit_first_settings(nghttp2_session* h2, NativeLimits limits, int64_t concurrent_streams) noexcept
