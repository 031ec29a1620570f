"""The google.rpc messages inside `grpc-status-details-bin`, declared here so that no further package is needed.

They are wire-compatible with https://github.com/googleapis/googleapis/tree/master/google/rpc, but live in a private
descriptor pool under a name of ours: an application that also loads the original ones sees no conflict.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_PACKAGE = "awsidecar.details"
_FIELD = descriptor_pb2.FieldDescriptorProto


def _field(name: str, number: int, kind: Any, *, message: str = "", repeated: bool = False) -> Any:
    return _FIELD(
        name=name,
        number=number,
        type=kind,
        label=_FIELD.LABEL_REPEATED if repeated else _FIELD.LABEL_OPTIONAL,
        type_name=f".{_PACKAGE}.{message}" if message else None,
    )


def _message(name: str, *fields: Any, nested: Any = None, is_map_entry: bool = False) -> Any:
    return descriptor_pb2.DescriptorProto(
        name=name,
        field=fields,
        nested_type=[nested] if nested else [],
        options=descriptor_pb2.MessageOptions(map_entry=True) if is_map_entry else None,
    )


_MESSAGES = (
    _message("Any", _field("type_url", 1, _FIELD.TYPE_STRING), _field("value", 2, _FIELD.TYPE_BYTES)),
    _message("Duration", _field("seconds", 1, _FIELD.TYPE_INT64), _field("nanos", 2, _FIELD.TYPE_INT32)),
    _message(
        "Status",
        _field("code", 1, _FIELD.TYPE_INT32),
        _field("message", 2, _FIELD.TYPE_STRING),
        _field("details", 3, _FIELD.TYPE_MESSAGE, message="Any", repeated=True),
    ),
    _message(
        "ErrorInfo",
        _field("reason", 1, _FIELD.TYPE_STRING),
        _field("domain", 2, _FIELD.TYPE_STRING),
        _field("metadata", 3, _FIELD.TYPE_MESSAGE, message="ErrorInfo.MetadataEntry", repeated=True),
        nested=_message(
            "MetadataEntry",
            _field("key", 1, _FIELD.TYPE_STRING),
            _field("value", 2, _FIELD.TYPE_STRING),
            is_map_entry=True,
        ),
    ),
    _message("RetryInfo", _field("retry_delay", 1, _FIELD.TYPE_MESSAGE, message="Duration")),
    _message(
        "BadRequest",
        _field("field_violations", 1, _FIELD.TYPE_MESSAGE, message="BadRequest.FieldViolation", repeated=True),
        nested=_message(
            "FieldViolation",
            _field("field", 1, _FIELD.TYPE_STRING),
            _field("description", 2, _FIELD.TYPE_STRING),
        ),
    ),
    _message("RequestInfo", _field("request_id", 1, _FIELD.TYPE_STRING)),
)

_POOL = descriptor_pool.DescriptorPool()
_POOL.Add(
    descriptor_pb2.FileDescriptorProto(
        name="awsidecar/details.proto", package=_PACKAGE, syntax="proto3", message_type=_MESSAGES
    )
)


def _class_of(name: str) -> Any:
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(f"{_PACKAGE}.{name}"))


Status = _class_of("Status")
ErrorInfo = _class_of("ErrorInfo")
RetryInfo = _class_of("RetryInfo")
BadRequest = _class_of("BadRequest")
RequestInfo = _class_of("RequestInfo")
