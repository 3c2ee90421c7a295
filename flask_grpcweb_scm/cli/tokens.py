"""Signed tokens: ``flask grpc token …``."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Container
from datetime import datetime, timezone

import click
from flask.cli import with_appcontext

from flask_grpcweb_scm.access import revocations, shared_counts
from flask_grpcweb_scm.auth import SignedTokens, TokenError, Uncountable
from flask_grpcweb_scm.cli.names import app_state, complete_pattern
from flask_grpcweb_scm.config_values import read_revoked_tokens
from flask_grpcweb_scm.configuration import ConfigError, check_method_names

__all__ = ["token_cli"]


class Duration(click.ParamType):  # type: ignore[type-arg]  # generic in newer versions of click only
    """A number and its unit, ``30m``, ``12h`` or ``7d``, as seconds."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Read the text of an option."""
        match = re.fullmatch(r"([1-9][0-9]{0,4})([smhd])", str(value), re.ASCII)
        if match is None:
            self.fail(f"{value!r} is not a number and one of s, m, h, d", param, ctx)
        return int(match[1]) * {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}[match[2]]


@click.group("token")
def token_cli() -> None:
    """Make, read and revoke tokens that are signed with GRPC_TOKEN_SECRETS."""


@token_cli.command("issue")
@click.option("--name", required=True, help="Its owner, shown in logs and to the bearer.")
@click.option("--organization", multiple=True, metavar="ID-OR-SLUG", help="Only this organization; can be repeated.")
@click.option("--repository", multiple=True, metavar="ID-OR-NAME", help="Only this repository; can be repeated.")
@click.option("--project", multiple=True, metavar="ID-OR-SLUG", help="Only this project; can be repeated.")
@click.option(
    "--method",
    multiple=True,
    metavar="METHOD",
    shell_complete=complete_pattern,
    help="Only pkg.Service/Method or pkg.Service/*; repeatable.",
)
@click.option("--expires", type=Duration(), default="90d", show_default=True, help="As 30m, 12h or 7d.")
@with_appcontext
def token_issue_command(
    name: str,
    organization: tuple[str, ...],
    repository: tuple[str, ...],
    project: tuple[str, ...],
    method: tuple[str, ...],
    expires: float,
) -> None:
    """Print a new token, to be sent as X-Grpc-Auth-Token. It is stored nowhere."""
    try:
        check_method_names("--method", method, app_state().dispatcher.methods)
    except ConfigError as error:
        raise click.UsageError(str(error)) from None
    rows = {"organizations": organization, "repositories": repository, "projects": project}
    scope = {key: [int(item) if re.fullmatch("[0-9]{1,18}", item) else item for item in rows[key]] for key in rows}
    try:
        token = _signed_tokens().issue(name, expires_in=expires, methods=method, **scope)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    click.echo(token)


@token_cli.command("inspect")
@click.argument("text", metavar="TOKEN")
@with_appcontext
def token_inspect_command(text: str) -> None:
    """Check TOKEN and print its claims, with the id for GRPC_REVOKED_TOKENS.

    - reads the token from standard input.
    """
    try:
        revoked = revocations(shared_counts(app_state().settings)) or ()
        read = _signed_tokens(revoked).read(sys.stdin.read().strip() if text == "-" else text)
    except TokenError as error:
        raise click.ClickException(str(error)) from None
    except Uncountable as error:
        raise click.ClickException(f"it may be revoked, as GRPC_RATE_LIMIT_STORAGE fails: {error}") from None
    caller = read.identity
    claims = {
        "id": read.id,
        "name": caller.name,
        "organizations": sorted(caller.organizations or [], key=str) or "all",
        "repositories": sorted(caller.repositories or [], key=str) or "all",
        "projects": sorted(caller.projects or [], key=str) or "all",
        "methods": sorted(caller.methods or []) or "all",
        "expires": datetime.fromtimestamp(read.expires, timezone.utc).isoformat(),
    }
    click.echo(json.dumps(claims, indent=2))


@token_cli.command("revoke")
@click.argument("text", metavar="TOKEN-OR-ID")
@with_appcontext
def token_revoke_command(text: str) -> None:
    """Revoke a token, for good, in all processes that share a Redis as GRPC_RATE_LIMIT_STORAGE.

    They refuse it within two seconds; streams that are open go on. - reads the token from standard input. Put it into
    GRPC_REVOKED_TOKENS too, unless that Redis is backed up.
    """
    text = sys.stdin.read().strip() if text == "-" else text
    try:
        (token_id,) = read_revoked_tokens([text])
    except ValueError:
        # Without the text, which may be a credential of another kind.
        raise click.UsageError(
            "that is neither a signed token nor the id of one, which `flask grpc token inspect` prints; a token of"
            " GRPC_AUTH_TOKENS is revoked by taking it out there"
        ) from None
    shared = revocations(shared_counts(app_state().settings))
    if shared is None:
        raise click.ClickException(
            "revoked tokens are shared where GRPC_RATE_LIMIT_STORAGE is a Redis; put this into GRPC_REVOKED_TOKENS,"
            f" and restart the processes: {token_id}"
        )
    try:
        expires: float = _signed_tokens().read(text).expires
    except TokenError:
        expires = math.inf
    try:
        shared.add(token_id, expires)
    except Uncountable as error:
        raise click.ClickException(f"the token is not revoked, as GRPC_RATE_LIMIT_STORAGE fails: {error}") from None
    click.echo(f"The token {token_id} is revoked.")


def _signed_tokens(revoked_elsewhere: Container[str] = ()) -> SignedTokens:
    settings = app_state().settings
    if not settings.token_secrets:
        hint = "python -c 'import secrets; print(secrets.token_hex(32))'"
        raise click.ClickException(f"GRPC_TOKEN_SECRETS is not set; generate a secret with: {hint}")
    return SignedTokens(settings.token_secrets, settings.revoked_tokens, revoked_elsewhere)
