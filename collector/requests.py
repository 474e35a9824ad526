"""The one way in: a request of any signal, encoding and transport becomes a journal record or an answer."""

from __future__ import annotations

import threading
import time
from typing import Any

import orjson
from google.protobuf.message import DecodeError, EncodeError

from spanfold.collector.answers import MAX_MESSAGE, Code, Encoding, Refused
from spanfold.collector.counters import Counters
from spanfold.collector.errors import JournalError
from spanfold.collector.journal import Journal, JournalRecord
from spanfold.collector.limits import RETRY_SECONDS, InFlight, Limits, inflate, too_large
from spanfold.collector.otlp_json import misspelt, to_protobuf, without_halves
from spanfold.collector.senders import ANYONE, Caller, Rates
from spanfold.collector.signals import Checked, Signal

_INFLATE_AT_ONCE = 4


class Intake:
    """Checks requests and puts them into the journal. Blocks until durable; safe for use from many threads."""

    def __init__(self, journal: Journal, counters: Counters, limits: Limits, rates: Rates | None = None) -> None:
        self._journal = journal
        self._counters = counters
        self._rates = rates or Rates(None, None)
        self._limits = limits
        self._in_flight = InFlight(limits.in_flight_bytes)
        self._inflating = threading.BoundedSemaphore(_INFLATE_AT_ONCE)  # each may make request_bytes from a few KB

    def accept(
        self, signal: Signal, encoding: Encoding, body: bytes, compression: str = "", caller: Caller = ANYONE
    ) -> bytes:
        """The encoded export response: everything in `body` that it does not call rejected is durable now.

        Raises Refused, with nothing of the request kept.
        """
        try:
            if compression:
                with self._inflating:
                    body = inflate(body, compression, self._limits.request_bytes)
            self._rates.take(caller, len(body))
            with self._in_flight.request() as held:
                held.add(len(body))
                if len(body) > self._limits.request_bytes:
                    raise too_large(self._limits.request_bytes)
                warning = ""
                if encoding is Encoding.JSON:
                    body, replaced = without_halves(body)
                    warning = "; ".join(filter(None, (replaced, misspelt(signal.request, body))))
                    body = to_protobuf(signal.request, body)
                checked, body = _check(signal, body)
                self._keep(signal, checked, body, caller)
                return _response(signal, encoding, checked, warning)
        except Refused as refused:
            self.count_refusal(signal, refused)
            raise

    def count_refusal(self, signal: Signal, refused: Refused) -> None:
        self._counters.add(signal.name, "refused" if refused.transient else "rejected", 0)

    def _keep(self, signal: Signal, checked: Checked, body: bytes, caller: Caller) -> None:
        if checked.kept:
            record = JournalRecord(
                signal=signal.name, tenant=caller.tenant, key_label=caller.key_label, received_ns=time.time_ns(),
                body=body, items=checked.kept,
            )  # fmt: skip
            try:
                self._journal.append(record)
            except JournalError as error:
                self._counters.add(signal.name, "refused", checked.kept + checked.rejected, requests=0)
                raise Refused(Code.UNAVAILABLE, str(error), retry_seconds=RETRY_SECONDS) from error
        else:
            self._counters.add(signal.name, "accepted", 0)
        if checked.rejected:
            self._counters.add(signal.name, "rejected", checked.rejected, requests=0)


def _check(signal: Signal, body: bytes) -> tuple[Checked, bytes]:
    """(result, the request without what was rejected)."""
    request: Any = signal.request()
    try:
        request.ParseFromString(body)
    except DecodeError as error:
        raise Refused(Code.INVALID_ARGUMENT, f"the body is not a {signal.request.__name__}: {error}") from error
    checked = signal.check(request)
    if not checked.rejected:
        return checked, body
    try:
        return checked, request.SerializeToString()
    except EncodeError as error:
        raise Refused(Code.INVALID_ARGUMENT, f"the request cannot be written without its bad items: {error}") from error


def _response(signal: Signal, encoding: Encoding, checked: Checked, warning: str) -> bytes:
    """The export response; `partial_success` stays unset when nothing was rejected and there is nothing to warn of."""
    told = [f"rejected: {checked.reason}"] if checked.rejected else []
    message = "; ".join(told + [warning] * bool(warning))[:MAX_MESSAGE]
    if not message:
        return b"" if encoding is Encoding.PROTOBUF else b"{}"
    if encoding is Encoding.JSON:
        first, *rest = signal.rejected_field.split("_")
        name = first + "".join(word.capitalize() for word in rest)
        return orjson.dumps({"partialSuccess": {name: str(checked.rejected), "errorMessage": message}})
    response = signal.response()
    setattr(response.partial_success, signal.rejected_field, checked.rejected)
    response.partial_success.error_message = message
    encoded: bytes = response.SerializeToString()
    return encoded
