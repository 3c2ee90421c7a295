"""``scm-grpc doctor``."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator

import click
from google.protobuf.descriptor import ServiceDescriptor

from flask_grpcweb_scm.client.cli.options import connection_options, given_options, open_channel, server_url
from flask_grpcweb_scm.client.cli.output import printable, safe_json
from flask_grpcweb_scm.client.doctor import Diagnosis, examine

__all__ = ["DoctorCommand"]

DEFAULT_TIMEOUT = 10.0
LEVEL_WIDTH = 6
SUBJECT_WIDTH = 16


class DoctorCommand(click.Command):
    """Examines a server."""

    def __init__(self, descriptor: ServiceDescriptor) -> None:
        self._descriptor = descriptor
        own = click.Option(["--origin"], metavar="ORIGIN", help="Origin of pages that should be allowed to call.")
        super().__init__(
            "doctor",
            params=[own, *connection_options()],
            callback=self._run,
            short_help="Examines a running server, and advises.",
            help="Examines a running server: reachability, methods, content types, authentication, CORS, clocks and"
            f" versions. It changes nothing there. The timeout of a request is {DEFAULT_TIMEOUT:g} s, or --timeout."
            "\n\nExits with 1 when a check fails; a warning is no failure.",
        )

    def _run(self, origin: str | None, **_: object) -> None:
        findings = self._findings(origin)
        if given_options(click.get_current_context())["output"] == "json":
            found = list(findings)
            click.echo(safe_json([dataclasses.asdict(finding) for finding in found]))
        else:
            found = [_printed(finding) for finding in findings]
        if any(finding.level == "fail" for finding in found):
            raise SystemExit(1)

    def _findings(self, origin: str | None) -> Iterator[Diagnosis]:
        given = given_options(click.get_current_context())
        try:
            yield from examine(
                server_url(given),
                self._descriptor,
                open_channel=functools.partial(open_channel, given, retry=None),
                has_credentials=bool(given["token"] or given["hmac_secret"] or given["metadata"]),
                origin=origin,
                timeout=given["timeout"] or DEFAULT_TIMEOUT,
                ca_certs=given["ca_certs"],
            )
        except (ValueError, OSError) as error:
            raise click.UsageError(str(error)) from None


def _printed(finding: Diagnosis) -> Diagnosis:
    click.echo(f"{finding.level:{LEVEL_WIDTH}}{finding.subject:{SUBJECT_WIDTH}}{printable(finding.text)}")
    if finding.advice:
        click.echo(" " * (LEVEL_WIDTH + SUBJECT_WIDTH) + printable(finding.advice))
    return finding
