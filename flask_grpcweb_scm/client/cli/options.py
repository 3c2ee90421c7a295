"""Options of the server and the call, before or after the name of a command."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

import click

from flask_grpcweb_scm.client.call import RetryPolicy
from flask_grpcweb_scm.client.channel import Channel
from flask_grpcweb_scm.rpc.protocols import HTTP1_PROTOCOLS

__all__ = ["connection_options", "given_options", "open_channel", "parse_metadata", "server_url"]

DEFAULT_TIMEOUT = 30.0
"""Seconds, for a call with one response."""
SHORT_CHARACTERS = 12
DOCTOR_TIMEOUT = 10.0
"""Seconds, for each request of ``scm-grpc doctor``."""

# name, flags, settings, environment variable
_OPTIONS: list[tuple[str, list[str], dict[str, Any], str | None]] = [
    (
        "url",
        ["--url"],
        {"help": "The server, as https://host:port and an optional path."},
        "SCM_GRPC_URL",
    ),
    (
        "token",
        ["--token"],
        {"help": "Sent as X-Grpc-Auth-Token. Other users of this machine see arguments."},
        "SCM_GRPC_TOKEN",
    ),
    (
        "hmac_secret",
        ["--hmac-secret"],
        {"metavar": "SECRET", "help": "Signs requests, unless there is a token."},
        "SCM_GRPC_HMAC_SECRET",
    ),
    ("ca_certs", ["--ca-certs"], {"type": click.Path(exists=True, dir_okay=False), "help": "Trust these only."}, None),
    (
        "metadata",
        ["-m", "--metadata"],
        {"multiple": True, "metavar": "NAME=VALUE", "help": "Request metadata. Can be repeated."},
        None,
    ),
    (
        "timeout",
        ["--timeout"],
        {
            "type": click.FloatRange(min=0, min_open=True),
            "metavar": "SECONDS",
            "help": f"The call's deadline. Default: {DEFAULT_TIMEOUT:g}, none for streams,"
            f" {DOCTOR_TIMEOUT:g} for a request of doctor.",
        },
        None,
    ),
    (
        "protocol",
        ["--protocol"],
        {"type": click.Choice(HTTP1_PROTOCOLS), "help": f"Default: {HTTP1_PROTOCOLS[0]}."},
        None,
    ),
    ("codec", ["--codec"], {"type": click.Choice(["proto", "json"]), "help": "How messages are sent."}, None),
    ("output", ["-o", "--output"], {"type": click.Choice(["table", "json"]), "help": "Default: table."}, None),
]


def connection_options(*, environment: bool = False, own_flags: Collection[str] = ()) -> Iterator[click.Option]:
    """Make the options; without values from the environment they do not override those of an outer command.

    :param own_flags: flags that the command uses itself.
    """
    for name, flags, settings, variable in _OPTIONS:
        free = [flag for flag in flags if flag not in own_flags]
        if free:
            yield click.Option([name, *free], envvar=variable if environment else None, show_envvar=True, **settings)


def given_options(context: click.Context) -> Mapping[str, Any]:
    """Return the values of this command's options, and of those before its name."""
    outer = given_options(context.parent) if context.parent else {}
    own = {name: context.params.get(name) for name, *_ in _OPTIONS}
    metadata = (*(outer.get("metadata") or ()), *(own["metadata"] or ()))
    return {**{name: value or outer.get(name) for name, value in own.items()}, "metadata": metadata}


def server_url(given: Mapping[str, Any]) -> str:
    """Return the URL of the server.

    :raises click.UsageError: when there is none.
    """
    if not given["url"]:
        raise click.UsageError("no server: give --url, or set SCM_GRPC_URL")
    return str(given["url"])


def open_channel(given: Mapping[str, Any], **replaced: Any) -> Channel:
    """Open a channel to the server.

    :param replaced: parameters of :class:`Channel` that override the options.
    :raises click.UsageError: for an option that the channel refuses.
    """
    parameters = {
        "token": given["token"] or None,
        "hmac_secret": given["hmac_secret"] or None,
        "metadata": parse_metadata(given["metadata"]),
        "codec": given["codec"] or "proto",
        "protocol": given["protocol"] or HTTP1_PROTOCOLS[0],
        "retry": RetryPolicy(),
        "ca_certs": given["ca_certs"],
        **replaced,
    }
    try:
        return Channel(server_url(given), **parameters)
    except (ValueError, TypeError, OSError) as error:
        raise click.UsageError(str(error)) from None


def parse_metadata(pairs: Iterable[str]) -> list[tuple[str, str | bytes]]:
    """Read ``NAME=VALUE``; the values of names in ``-bin`` are texts in UTF-8.

    :raises click.BadParameter: for one without ``=``.
    """
    metadata: list[tuple[str, str | bytes]] = []
    for number, pair in enumerate(pairs, 1):
        name, equals, value = pair.partition("=")
        if not equals:
            # Not repeated, unless it is as short as a name: "authorization: Bearer …" has a credential.
            shown = repr(pair) if len(pair) <= SHORT_CHARACTERS else f"number {number}"
            raise click.BadParameter(f"{shown} is not NAME=VALUE", param_hint="--metadata")
        metadata.append((name, value.encode() if name.lower().endswith("-bin") else value))
    return metadata
