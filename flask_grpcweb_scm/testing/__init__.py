"""Test kit for apps: calls without a socket, rows, expected errors, recorded calls."""

from flask_grpcweb_scm.testing.assertions import ExpectedError, assert_rpc_error
from flask_grpcweb_scm.testing.channel import channel_for
from flask_grpcweb_scm.testing.factory import ScmFactory
from flask_grpcweb_scm.testing.checks import RecordedCall, RecordingInterceptor, recording

__all__ = [
    "ExpectedError",
    "RecordedCall",
    "RecordingInterceptor",
    "ScmFactory",
    "assert_rpc_error",
    "channel_for",
    "recording",
]
