"""What a sender is told: `google.rpc.Status` and the export responses, in protobuf or JSON.

The stock Python exporters find a retry delay in HTTP's Retry-After, or in a gRPC trailer of its own; others look into
the status details. All are sent.
"""

from __future__ import annotations

import enum
from typing import Any

import orjson
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

MAX_MESSAGE = 2000  # characters: an answer is never large


class Code(enum.IntEnum):
    """The gRPC status codes that we answer with."""

    INVALID_ARGUMENT = 3
    NOT_FOUND = 5
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    UNIMPLEMENTED = 12
    UNAVAILABLE = 14
    UNAUTHENTICATED = 16


class Encoding(enum.Enum):
    """How a request is written, and therefore its answer."""

    PROTOBUF = "application/x-protobuf"
    JSON = "application/json"


class Refused(Exception):
    """A request that gets no OK."""

    def __init__(self, code: Code, message: str, *, retry_seconds: int | None = None, media: bool = False) -> None:
        """retry_seconds: set only where the same request may succeed later. media: it is about how the body is sent."""
        super().__init__(message)
        self.code = code
        self.message = message[:MAX_MESSAGE]
        self.retry_seconds = retry_seconds
        self.media = media

    @property
    def transient(self) -> bool:
        """Refused for now, as against rejected for good."""
        return self.retry_seconds is not None

    def status(self, encoding: Encoding) -> bytes:
        """`google.rpc.Status`."""
        if encoding is Encoding.PROTOBUF:
            encoded: bytes = status_message(self).SerializeToString()
            return encoded
        body: dict[str, Any] = {"code": int(self.code), "message": self.message}
        if self.retry_seconds is not None:
            delay = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{self.retry_seconds}s"}
            body["details"] = [delay]
        return orjson.dumps(body)


def retry_info(seconds: int) -> RetryInfo:
    return RetryInfo(retry_delay=Duration(seconds=seconds))


def status_message(refused: Refused) -> Status:
    status = Status(code=int(refused.code), message=refused.message)
    if refused.retry_seconds is not None:
        packed = AnyMessage()
        packed.Pack(retry_info(refused.retry_seconds))
        status.details.append(packed)
    return status
