"""An app that every attack is tried on, and credentials for it."""

from __future__ import annotations

import hashlib
import hmac
import time
from typing import Any

from flask import Flask

from flask_grpcweb_scm.auth import SignedTokens
from tests.apps import ECHO, echo_app
from tests.echo_pb2 import EchoReply, EchoRequest

UNARY = ECHO + "Unary"
STREAM = ECHO + "ServerStream"
MESSAGE = EchoRequest(text="hi").SerializeToString()
NOW = int(time.time())
WINDOW = 3600
"""Seconds; long, because a test may run minutes after NOW."""

FULL = "full-0ab679c5321ce05b536dd13519687696"
NARROW = "narrow-63a7733c3f633327eea38f11b90bfdeb"
SECRET_KEY = "app-847daab15ae3b04eb62b9f12045b90ec"
TOKEN_SECRET = "token-signing-cc9c4f4bc9eb5fe32f4470480569c600"
HMAC_SECRET = "request-signing-f12e4270b6d3a6feb0ab388b1e440fc9"
OTHER_SECRET = "somebody-elses-ab2ece497e9d06175eb39a52a18464c0"

_issuer = SignedTokens([TOKEN_SECRET])
SIGNED = _issuer.issue("ci", expires_in=3600)
SIGNED_NARROW = _issuer.issue("ci", expires_in=3600, methods=[UNARY[1:]])
EXPIRED = _issuer.issue("ci", expires_in=-1)
REVOKED = _issuer.issue("ci", expires_in=3600)
FOREIGN = SignedTokens([OTHER_SECRET]).issue("ci", expires_in=3600)

CONFIG: dict[str, Any] = {
    "SECRET_KEY": SECRET_KEY,
    "GRPC_AUTH_TOKENS": {FULL: {"name": "full"}, NARROW: {"name": "narrow", "methods": [UNARY[1:]]}},
    "GRPC_TOKEN_SECRETS": [TOKEN_SECRET],
    "GRPC_REVOKED_TOKENS": [_issuer.read(REVOKED).id],
    "GRPC_HMAC_SECRETS": [HMAC_SECRET],
    "GRPC_HMAC_MAX_AGE": WINDOW,
    "GRPC_MAX_MESSAGE_BYTES": 4096,
    "GRPC_MAX_METADATA_BYTES": 8192,
}


def guarded_app(ran: list[str], **config: Any) -> Flask:
    """An Echo app behind every kind of credential; `ran` gets the name of each method whose function is called."""

    def unary(request: EchoRequest, context: Any) -> EchoReply:
        ran.append("Unary")
        return EchoReply(text=request.text)

    def stream(request: EchoRequest, context: Any) -> Any:
        ran.append("ServerStream")
        yield EchoReply(text=request.text)

    return echo_app(Unary=unary, ServerStream=stream, **{**CONFIG, **config})


def signature(
    message: bytes = MESSAGE, *, path: str = UNARY, timestamp: int | str | None = NOW, secret: str = HMAC_SECRET
) -> str:
    """``X-Signature`` as docs/authentication.md describes it, written without the code under test."""
    text = f"{path}:{message.hex()}" + ("" if timestamp is None else f":{timestamp}")
    return hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest()


def signed(message: bytes = MESSAGE, *, path: str = UNARY, timestamp: int | str | None = NOW, **options: Any) -> Any:
    """The headers of a signed request."""
    given = signature(message, path=path, timestamp=timestamp, **options)
    headers = {"x-method": path, "x-signature": given}
    return headers if timestamp is None else {**headers, "x-timestamp": str(timestamp)}
