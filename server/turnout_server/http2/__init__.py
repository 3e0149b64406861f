"""HTTP/2 (RFC 9113) and its field compression (RFC 7541) as arithmetic: bytes in, bytes out, and no I/O."""
