"""The protocols that calls come in, each an :class:`RpcProtocol` in a module of its own, and the choice of one."""

from __future__ import annotations

from typing import Any

from flask_grpcweb_scm.rpc.call import RpcProtocol
from flask_grpcweb_scm.rpc.protocols.grpc_web import find_grpc_web, status_headers
from flask_grpcweb_scm.wire import CONTENT_TYPES

__all__ = ["SUPPORTED", "find_protocol", "status_headers"]

SUPPORTED = f"gRPC-Web; use one of {', '.join(CONTENT_TYPES)}"
"""The end of the sentence for a request that speaks no protocol: "content type … is not …"."""


def find_protocol(environ: dict[str, Any]) -> RpcProtocol | None:
    """The protocol that a request speaks, whatever its path; None when it is none of these."""
    if environ["REQUEST_METHOD"] != "POST":
        return None
    return find_grpc_web(environ.get("CONTENT_TYPE"), environ.get("HTTP_ACCEPT"))
