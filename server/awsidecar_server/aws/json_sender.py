"""The sidecar's own way to AWS: signs a JSON body, posts it, checks the answer, and tries again where that is right."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable, Mapping
from functools import cache, partial
from itertools import count
from typing import Protocol
from uuid import uuid4

import orjson

from awsidecar_server.aws.call import AwsCall, AwsReply
from awsidecar_server.aws.clock_skew import Answered, ClockSkew
from awsidecar_server.aws.endpoints import Endpoint, EndpointResolver
from awsidecar_server.aws.http import HttpAnswer, HttpFailure
from awsidecar_server.aws.idempotency import Nature, nature_of
from awsidecar_server.aws.json_calls import JSON_SERVICES, JsonCall, JsonReply, resource_of
from awsidecar_server.aws.json_errors import cancellation_codes, is_intact, read_error
from awsidecar_server.aws.measurement import Measured
from awsidecar_server.aws.progress import Progress
from awsidecar_server.aws.retries import THROTTLING, Failure, GiveUp, Retry, RetryPolicy, Stage, Tries
from awsidecar_server.aws.sigv4 import Signer
from awsidecar_server.aws.wording import passable_request_id, without_secrets
from awsidecar_server.config import AwsConfig
from awsidecar_server.errors import AwsRejected, AwsUnreachable, DeadlineSpent
from awsidecar_server.identity.credentials import Credentials
from awsidecar_server.ops.telemetry import AwsMetrics, Telemetry
from awsidecar_server.version import VERSION

_USER_AGENT = f"awsidecar/{VERSION}"
# As much of a name as tells resources apart; an ARN has no more.
_LONGEST_NAME = 1024
_MESSAGES = {
    "timeout": "AWS did not answer in time",
    "connection_lost": "the connection was lost before AWS answered",
    "bad_response": "AWS's answer could not be read",
}


# Makes the error of a call from what was sent.
ErrorMaker = Callable[[Progress], AwsRejected | AwsUnreachable | DeadlineSpent]


class Transport(Protocol):
    """Whoever takes a request to AWS, once; `http.HttpTransport` outside of tests."""

    async def post(
        self,
        url: str,
        headers: Mapping[str, str],
        body: bytes,
        *,
        deadline: float | None = None,
        on_sending: Callable[[], None] | None = None,
    ) -> HttpAnswer:
        """The answer, whatever its status; raises `HttpFailure`."""


def _loop_time() -> float:
    return asyncio.get_running_loop().time()


class JsonSender:
    """Performs calls of AWS's JSON protocol. It owns the retries of these calls; nobody else repeats them."""

    def __init__(
        self,
        config: AwsConfig,
        transport: Transport,
        telemetry: Telemetry,
        *,
        policy: RetryPolicy | None = None,
        now: Callable[[], float] = time.time,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`now` is the time of day; `pause` waits between attempts, as long as the policy says."""
        self._transport = transport
        self._now = now
        self._pause = pause
        self._endpoints = EndpointResolver(config)
        self._signer = Signer(now)
        self._skew = ClockSkew(is_enabled=not config.disable_clock_skew_correction)
        self._max_attempts = config.max_attempts
        self._policy = policy or RetryPolicy(config.max_attempts, clock=_loop_time)
        # The same for all attempts of a call, and for no other call.
        self._invocation_ids = map(f"{uuid4()}-{{}}".format, count(1))
        self._metrics = cache(partial(_metrics_of, telemetry, config.pool_size))

    def __repr__(self) -> str:
        return f"<JsonSender by {self._transport!r}>"

    async def send(self, call: AwsCall, credentials: Credentials | None) -> AwsReply:
        """A call whose parameters and members are plain JSON: a `Carrier`."""
        body = orjson.dumps(call.parameters)
        posted = JsonCall(call.service, call.operation, body, call.parameters, call.region, progress=call.progress)
        reply = await self.post(posted, credentials)
        try:
            members = orjson.loads(reply.body)
        except ValueError as unreadable:
            raise _unreachable("bad_response", call.progress) from unreadable
        return AwsReply(members, reply.request_id, reply.attempts)

    async def post(self, call: JsonCall, credentials: Credentials | None) -> JsonReply:
        """Performs the call; a cancelled call stops its work, and nothing is begun that the deadline would cut.

        Without credentials the request is unsigned, which only the operations that AWS takes unsigned allow.
        """
        metrics: AwsMetrics = self._metrics(call.service, call.region, call.operation)
        with Measured(metrics):
            return await self._until_settled(call, credentials, metrics)

    async def _until_settled(
        self, call: JsonCall, credentials: Credentials | None, metrics: AwsMetrics
    ) -> JsonReply:
        name = resource_of(call.operation, call.members)
        endpoint = self._endpoint(call, credentials, name)
        # What AWS throttles as one: the host stands for region and account, and of a shard iterator its stream.
        resource = endpoint.host, name.partition("|")[0][:_LONGEST_NAME]
        nature = partial(nature_of, call.operation, lambda: call.members)
        progress, tries, attempt = call.progress, Tries(), 0
        invocation_id = next(self._invocation_ids)
        retry: Retry | None = None
        correction: float | None = None
        while True:
            attempt += 1
            progress.begin(nature)
            metrics.attempts.inc()
            offset = self._skew.offset_seconds(endpoint.host) if correction is None else correction
            headers = self._headers(call, endpoint, credentials, invocation_id, attempt, offset)
            sent_at, lost = self._now(), None
            try:
                answer = await self._transport.post(
                    endpoint.url, headers, call.body, deadline=call.deadline, on_sending=progress.sent
                )
            except HttpFailure as failed:
                lost, failure = failed, Failure(failed.stage)
                error: ErrorMaker = partial(_unreachable, failed.cause, message=str(failed))
                progress.failed(failure)
            else:
                if answer.status == 200 and is_intact(answer.body, answer.headers.get("x-amz-crc32")):
                    self._succeeded(endpoint, resource, retry, correction)
                    return JsonReply(answer.body, _request_id(answer), progress.attempts)
                failure, error = _refusal(call, credentials, answer)
                progress.failed(failure)
                if correction is None:
                    correction = self._correction(endpoint, failure, answer, sent_at, offset)
                    if correction is not None:
                        continue
            if failure.code in THROTTLING:
                metrics.throttles.inc()
            decision = self._decision(call, failure, tries.count(failure), nature, resource)
            if isinstance(decision, GiveUp):
                raise error(progress) from lost
            retry = decision
            await self._pause(decision.delay_seconds)

    def _decision(
        self, call: JsonCall, failure: Failure, attempt: int, nature: Callable[[], Nature], resource: Hashable
    ) -> Retry | GiveUp:
        return self._policy.failed(
            failure,
            attempt=attempt,
            nature=nature,
            resource=resource,
            deadline=call.deadline,
            conflict_attempts=call.conflict_attempts,
        )

    def _endpoint(self, call: JsonCall, credentials: Credentials | None, resource: str) -> Endpoint:
        return self._endpoints.resolve(
            call.service,
            call.region,
            is_search=call.operation == "SearchVectors",
            account_id=credentials.account_id if credentials else None,
            resource_arns=(resource,),
        )

    def _headers(
        self,
        call: JsonCall,
        endpoint: Endpoint,
        credentials: Credentials | None,
        invocation_id: str,
        attempt: int,
        offset: float,
    ) -> dict[str, str]:
        spoken = JSON_SERVICES[call.service]
        target = f"{spoken.target_prefix}.{call.operation}"
        if credentials is None:
            headers = {"Host": endpoint.host, "Content-Type": spoken.content_type, "X-Amz-Target": target}
        else:
            headers = self._signer.headers(
                endpoint,
                credentials,
                call.body,
                target=target,
                content_type=spoken.content_type,
                offset_seconds=offset,
            )
        headers["User-Agent"] = _USER_AGENT
        headers["amz-sdk-invocation-id"] = invocation_id
        # The correction of the clock may make it one more.
        headers["amz-sdk-request"] = f"attempt={attempt}; max={max(attempt, self._max_attempts)}"
        return headers

    def _succeeded(
        self, endpoint: Endpoint, resource: Hashable, retry: Retry | None, correction: float | None
    ) -> None:
        self._policy.succeeded(resource, retry)
        if correction is not None:
            self._skew.confirm(endpoint.host, correction)

    def _correction(
        self, endpoint: Endpoint, failure: Failure, answer: HttpAnswer, sent_at: float, offset: float
    ) -> float | None:
        # Only of a refusal is it sure that nothing was done; and in plaintext, anybody may have written it.
        if failure.stage is not Stage.REFUSED or not failure.is_surely_without_effect or not endpoint.is_secure:
            return None
        answered = Answered(sent_at, self._now(), answer.headers.get("date"), answer.headers.get("age"))
        return self._skew.correction(failure.code, answered, offset)


def _metrics_of(telemetry: Telemetry, pool_size: int, service: str, region: str, operation: str) -> AwsMetrics:
    telemetry.aws_pool_size.labels(service, region).set(pool_size)
    return AwsMetrics(telemetry, service, region, operation)


def _request_id(answer: HttpAnswer) -> str:
    return passable_request_id(answer.headers.get("x-amzn-requestid") or "")


def _refusal(call: JsonCall, credentials: Credentials | None, answer: HttpAnswer) -> tuple[Failure, ErrorMaker]:
    """What an answer that is no success means, as the retry policy sees it and as the caller will."""
    if answer.status < 400:  # damaged; or a redirect, which would take what is signed to another host
        stage = Stage.UNREADABLE if answer.status == 200 else Stage.REFUSED
        return Failure(stage, http_status=answer.status), partial(_unreachable, "bad_response")
    read = read_error(answer.body, http_status=answer.status, error_type=answer.headers.get("x-amzn-errortype"))
    failure = Failure(
        Stage.REFUSED, read.code, answer.status, answer.headers.get("x-amz-retry-after"), cancellation_codes(read)
    )
    if answer.status < 500 and not read.is_of_aws:
        return failure, partial(_unreachable, "bad_response")
    message = without_secrets(read.message, credentials) if credentials else read.message

    def rejected(progress: Progress) -> AwsRejected:
        return AwsRejected(
            service=call.service,
            operation=call.operation,
            code=read.code,
            message=message,
            request_id=_request_id(answer),
            http_status=answer.status,
            attempts=progress.attempts,
            ambiguous=progress.is_ambiguous,
            members=read.members,
        )

    return failure, rejected


def _unreachable(cause: str, progress: Progress, message: str = "") -> AwsUnreachable | DeadlineSpent:
    """`message` is the transport's, which alone knows what is in the way of a connection: a proxy, TLS, a name."""
    if cause == "deadline":
        return DeadlineSpent()
    return AwsUnreachable(
        _MESSAGES.get(cause, message), cause=cause, attempts=progress.attempts, ambiguous=progress.is_ambiguous
    )
