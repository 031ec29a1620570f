"""How AWS's answers are read: strictly, so that rubbish is never taken for an empty answer."""

from __future__ import annotations

import json
from typing import Any

from aiobotocore.parsers import (
    PROTOCOL_PARSERS,
    AioJSONParser,
    AioQueryParser,
    AioResponseParser,
    AioResponseParserFactory,
)
from botocore.parsers import ResponseParserError

# What botocore's parsers run into when an answer is not as the service model has it.
_MISREAD = (AttributeError, KeyError, RecursionError, TypeError, ValueError)


class AnswerParsers(AioResponseParserFactory):  # type: ignore[misc]
    """Gives the parser of a protocol; registered as botocore's `response_parser_factory`."""

    def create_parser(self, protocol_name: str) -> Any:
        parser = _STRICT_PARSERS.get(protocol_name) or PROTOCOL_PARSERS[protocol_name]
        return parser(**self._defaults)


class _Strict(AioResponseParser):  # type: ignore[misc]
    async def parse(self, response: dict[str, Any], shape: Any) -> Any:
        try:
            return await super().parse(response, shape)
        except _MISREAD as misread:
            raise ResponseParserError("the answer is not as the service model has it") from misread


class _JsonParser(_Strict, AioJSONParser):  # type: ignore[misc]
    """botocore's takes a successful answer that is no JSON for one without members: "there is no such item"."""

    def _handle_json_body(self, raw_body: bytes, shape: Any) -> Any:
        members = json.loads(raw_body) if raw_body else {}
        if not isinstance(members, dict):
            raise TypeError("the answer is no JSON object")
        return self._parse_shape(shape, members)


class _QueryParser(_Strict, AioQueryParser):  # type: ignore[misc]
    pass


# The protocols of the services that the contract and identity call.
_STRICT_PARSERS = {"json": _JsonParser, "query": _QueryParser}
