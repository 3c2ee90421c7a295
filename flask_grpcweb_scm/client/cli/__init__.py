"""``scm-grpc``: ScmService from the command line."""

from __future__ import annotations

from importlib import resources

from flask_grpcweb_scm.client.cli.commands import read_comments, service_group
from flask_grpcweb_scm.pb import scm_pb2

__all__ = ["scm_grpc"]

scm_grpc = service_group(
    scm_pb2.DESCRIPTOR.services_by_name["ScmService"],
    read_comments((resources.files("flask_grpcweb_scm.pb") / "scm.proto").read_text("utf-8")),
    help_text="Call sentry.integrations.scm.v1.ScmService of a server.",
)
