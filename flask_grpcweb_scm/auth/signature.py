"""HMAC signatures of requests."""

from __future__ import annotations

import hmac
import re
import time
from collections.abc import Sequence

from flask_grpcweb_scm.rpc import CallContext, RpcError, StatusCode
from flask_grpcweb_scm.wire import sign

__all__ = ["check_signature", "sign"]

_TIMESTAMP = re.compile(r"[0-9]{1,12}", re.ASCII)


def check_signature(
    context: CallContext, signature: str, *, secrets: Sequence[str], max_age: float, require_timestamp: bool
) -> None:
    """Check a signature against the received request, not against the headers that describe it.

    :param max_age: seconds that the timestamp may be off, either way.
    :raises RpcError: UNAUTHENTICATED, with the part that does not match.
    """
    path = context.method.path if context.method else ""
    if context.metadata.get_text("x-method") != path:
        raise _refused(f"X-Method must be the path of the call, {path}")
    timestamp = _timestamp(context, max_age=max_age, required=require_timestamp)
    message = context.message_bytes
    body = context.metadata.get_text("x-body")
    if body is not None and body.lower() != message.hex():
        raise _refused("X-Body is not the hex of the message that was sent; it may be left out")
    given = signature.lower()
    if not any(hmac.compare_digest(sign(secret, path, message, timestamp), given) for secret in secrets):
        raise _refused("X-Signature does not match the request")


def _timestamp(context: CallContext, *, max_age: float, required: bool) -> int | None:
    text = context.metadata.get_text("x-timestamp")
    if text is None:
        if required:
            raise _refused("X-Timestamp is required in signed requests")
        return None
    if _TIMESTAMP.fullmatch(text) is None:
        raise _refused("X-Timestamp must be whole seconds of Unix time")
    if abs(time.time() - int(text)) > max_age:
        raise _refused(f"X-Timestamp is more than {max_age:g} seconds off; check the clock, then sign again")
    return int(text)


def _refused(message: str) -> RpcError:
    return RpcError(StatusCode.UNAUTHENTICATED, message)
