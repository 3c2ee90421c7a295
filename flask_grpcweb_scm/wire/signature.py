"""The signature of a request that is sent without a token."""

from __future__ import annotations

import hashlib
import hmac

__all__ = ["sign"]


def sign(secret: str, path: str, message: bytes, timestamp: int | None = None) -> str:
    """Compute the ``X-Signature`` of a request: HMAC-SHA256 in hex over ``{path}:{hex of message}[:{timestamp}]``.

    :param path: of the method, ``/package.Service/Method``; it is also sent as ``X-Method``.
    :param message: the message as serialized, before compression and framing.
    :param timestamp: seconds of Unix time, also sent as ``X-Timestamp``.
    """
    signed = f"{path}:{message.hex()}" + ("" if timestamp is None else f":{timestamp}")
    return hmac.new(secret.encode(), signed.encode(), hashlib.sha256).hexdigest()
