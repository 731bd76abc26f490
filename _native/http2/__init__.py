"""HTTP/2: sessions over nghttp2, what they refuse, and the buffers their bytes wait in."""
