"""Test kit for apps: calls without a socket, rows, expected errors, recorded calls."""

from flask_grpcweb_scm.testing.channel import channel_for
from flask_grpcweb_scm.testing.checks import (
    ExpectedError,
    RecordedCall,
    RecordingInterceptor,
    assert_rpc_error,
    recording,
)
from flask_grpcweb_scm.testing.factory import ScmFactory

__all__ = [
    "ExpectedError",
    "RecordedCall",
    "RecordingInterceptor",
    "ScmFactory",
    "assert_rpc_error",
    "channel_for",
    "recording",
]
