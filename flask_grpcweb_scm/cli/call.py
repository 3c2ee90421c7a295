"""``flask grpc call``: one call, in this process or of a server, printed as JSON.

In a module of its own, so that an app imports the client only for this command.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import click
from flask import Flask

from flask_grpcweb_scm.client import Call, CallError, Channel
from flask_grpcweb_scm.client.cli.fields import parse_json, parse_lines
from flask_grpcweb_scm.client.cli.options import parse_metadata
from flask_grpcweb_scm.client.cli.output import detail_dict, echo_error, exit_code, json_text, message_dict, safe_json
from flask_grpcweb_scm.rpc import RpcMethod
from flask_grpcweb_scm.testing import channel_for
from flask_grpcweb_scm.wire import Metadata, encode_binary

__all__ = ["CallOptions", "call"]


@dataclass(frozen=True, slots=True)
class CallOptions:
    """Options of a call, and of its output."""

    url: str | None = None
    """Of a server; None for the app itself."""
    token: str | None = None
    metadata: Sequence[str] = field(default=())
    timeout: float | None = None
    protocol: str | None = None
    """None for the first that is served."""
    ca_certs: str | None = None
    as_object: bool = False
    """One object with everything, instead of each response as it comes."""
    as_lines: bool = False
    """One line for each response."""


def call(app: Flask, method: RpcMethod, text: str, options: CallOptions) -> int:
    """Make a call, print its responses and its status, and return the exit code.

    :param text: the request as JSON; for a stream of requests one a line.
    :raises click.UsageError: when it cannot be made.
    """
    descriptor = method.service.descriptor.methods_by_name[method.name]
    request: Any
    if method.client_streaming:
        request = list(parse_lines(method.request_class, text.splitlines()))
    else:
        request = parse_json(method.request_class, text)
    with _open_channel(app, options) as channel:
        made = channel.call(descriptor, request, timeout=options.timeout)
        return _print_object(made) if options.as_object else _print_responses(made, as_lines=options.as_lines)


def _open_channel(app: Flask, options: CallOptions) -> Channel:
    parameters: dict[str, Any] = {
        "token": options.token,
        "metadata": parse_metadata(options.metadata),
    }
    if options.protocol:
        parameters["protocol"] = options.protocol
    if options.ca_certs:
        if not options.url:
            raise click.UsageError("--ca-certs is for --url: a call in this process has no TLS")
        parameters["ca_certs"] = options.ca_certs
    try:
        return Channel(options.url, **parameters) if options.url else channel_for(app, **parameters)
    except (ValueError, TypeError, OSError) as error:
        raise click.UsageError(str(error)) from None


def _print_responses(made: Call[Any], *, as_lines: bool) -> int:
    try:
        for response in made:
            click.echo(json_text(response, indent=None if as_lines else 2))
    except CallError as error:
        echo_error(error)
        return exit_code(error.code)
    return 0


def _print_object(made: Call[Any]) -> int:
    responses: list[Any] = []
    status: dict[str, Any] = {"code": 0, "name": "OK"}
    try:
        responses.extend(message_dict(response) for response in made)
    except CallError as error:
        details = [detail_dict(detail) for detail in error.details]
        status = {"code": int(error.code), "name": error.code.name, "message": error.message, "details": details}
    printed = {
        "status": status,
        "initialMetadata": _metadata_dict(made.initial_metadata),
        "responses": responses,
        "trailingMetadata": _metadata_dict(made.trailing_metadata),
    }
    click.echo(safe_json(printed))
    return exit_code(status["code"])


def _metadata_dict(metadata: Metadata) -> dict[str, list[str]]:
    values: dict[str, list[str]] = {}
    for name, value in metadata:
        values.setdefault(name, []).append(encode_binary(value) if isinstance(value, bytes) else value)
    return values
