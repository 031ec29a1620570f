"""HTTP/2 for gRPC: the server's half of RFC 9113 on asyncio, without a thread of its own."""
