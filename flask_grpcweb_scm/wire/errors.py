"""The one error of the wire layer."""

from __future__ import annotations

from flask_grpcweb_scm.wire.status import StatusCode

__all__ = ["RemoteProtocolError"]


class RemoteProtocolError(Exception):
    """Raised for bytes of the peer that break the protocol or a limit; it has the status to respond with."""

    def __init__(self, message: str, *, code: StatusCode = StatusCode.INTERNAL) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
