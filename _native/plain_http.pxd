from prism_proxy._native.h2 cimport H2Stream

cdef bint answer_plainly(H2Stream stream, const char* status) noexcept
