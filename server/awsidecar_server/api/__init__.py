"""The gRPC edge. The only package that knows gRPC."""
