"""The HTTP to AWS: one request, one answer, over pooled connections that are kept alive. Why it is our own: ADR 9."""

from awsidecar_server.aws.http.messages import HttpAnswer, HttpFailure, HttpHeaders
from awsidecar_server.aws.http.pool import Connections
from awsidecar_server.aws.http.transport import HttpTransport

__all__ = ["Connections", "HttpAnswer", "HttpFailure", "HttpHeaders", "HttpTransport"]
