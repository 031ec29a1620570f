"""Protobuf to AWS parameters and back: pure functions, no I/O, compiled once per message from its descriptor."""

from awsidecar_server.bridge.codec import Codec, codec_of
from awsidecar_server.bridge.json_replies import JsonReplies, UnreadableReply, json_replies_of
from awsidecar_server.bridge.json_requests import JsonRequest, JsonRequests, json_requests_of

__all__ = [
    "Codec",
    "JsonReplies",
    "JsonRequest",
    "JsonRequests",
    "UnreadableReply",
    "codec_of",
    "json_replies_of",
    "json_requests_of",
]
