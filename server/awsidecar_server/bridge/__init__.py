"""Protobuf to AWS parameters and back: pure functions, no I/O, compiled once per message from its descriptor."""

from awsidecar_server.bridge.codec import Codec, codec_of

__all__ = ["Codec", "codec_of"]
