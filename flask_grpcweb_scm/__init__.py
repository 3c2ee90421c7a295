"""Typed RPC for the browser, straight from a Flask app: gRPC-Web as a Flask extension."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flask_grpcweb_scm.configuration import ConfigError
    from flask_grpcweb_scm.extension import GrpcWebScm
    from flask_grpcweb_scm.rpc import (
        CallContext,
        CallNext,
        Identity,
        RpcError,
        Service,
        ServiceDefinitionError,
        StatusCode,
    )
    from flask_grpcweb_scm.signals import rpc_finished, rpc_started
    from flask_grpcweb_scm.transactions import transaction
    from flask_grpcweb_scm.web.late_contexts import current_rpc
    from flask_grpcweb_scm.wire import Metadata

__all__ = [
    "CallContext",
    "CallNext",
    "ConfigError",
    "GrpcWebScm",
    "Identity",
    "Metadata",
    "RpcError",
    "Service",
    "ServiceDefinitionError",
    "StatusCode",
    "current_rpc",
    "rpc_finished",
    "rpc_started",
    "transaction",
]

# Imported on first use: the client must not import Flask, nor the pytest plugin everything.
_MODULES = {
    "ConfigError": "configuration",
    "GrpcWebScm": "extension",
    "Metadata": "wire",
    "current_rpc": "web.late_contexts",
    "rpc_finished": "signals",
    "rpc_started": "signals",
    "transaction": "transactions",
}


if not TYPE_CHECKING:  # where it would hide misspelt names

    def __getattr__(name: str) -> Any:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(f"{__name__}.{_MODULES.get(name, 'rpc')}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
