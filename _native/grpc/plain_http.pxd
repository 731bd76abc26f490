from prism_proxy._native.http2.session cimport H2Stream

cdef bint answer_plainly(H2Stream stream, const char* status) noexcept
