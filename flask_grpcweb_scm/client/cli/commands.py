"""The command line of a service: a command for each method, and those that are the same for all services."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import click
from click.shell_completion import get_completion_class
from google.protobuf.descriptor import Descriptor, MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from flask_grpcweb_scm.client.call import all_pages
from flask_grpcweb_scm.client.channel import Channel, python_names
from flask_grpcweb_scm.client.cli.fields import field_options, message_from, parse_lines
from flask_grpcweb_scm.client.cli.options import (
    DEFAULT_TIMEOUT,
    DOCTOR_TIMEOUT,
    connection_options,
    given_options,
    open_channel,
    server_url,
)
from flask_grpcweb_scm.client.cli.output import (
    JsonPrinter,
    Printer,
    TablePrinter,
    echo_error,
    exit_code,
    safe_json,
)
from flask_grpcweb_scm.client.doctor import Diagnosis, examine
from flask_grpcweb_scm.client.errors import CallError
from flask_grpcweb_scm.rpc import printable
from flask_grpcweb_scm.rpc.json_codec.fields import is_repeated
from flask_grpcweb_scm.rpc.protocols import HTTP1_PROTOCOLS

__all__ = ["DoctorCommand", "MethodCommand", "examine_server", "read_comments", "service_group"]

LEVEL_WIDTH = 6
SUBJECT_WIDTH = 16

_EXIT_CODES = """\
Exits with 0 on OK, with 64 and the number of the status on any other, with 2 when the arguments are wrong."""

_BLOCK = re.compile(r"(?:message|enum|service|oneof|rpc)\s+(\w+)")
_FIELD = re.compile(r"(?:[\w.]+|map<.*>)(?:\s+[\w.]+)*\s+(\w+)\s*=\s*\d+")


def service_group(descriptor: ServiceDescriptor, comments: Mapping[str, str], *, help_text: str) -> click.Group:
    """Build the commands of a service.

    :param comments: see :func:`read_comments`.
    """
    group = click.Group(params=list(connection_options(environment=True)), help=f"{help_text}\n\n{_EXIT_CODES}")
    for name, method in python_names(descriptor).items():
        group.add_command(MethodCommand(name.replace("_", "-"), method, comments))
    group.add_command(DoctorCommand(descriptor))
    group.add_command(completion_command)
    return click.version_option(package_name="flask_grpcweb_scm", message="%(prog)s %(version)s")(group)


class MethodCommand(click.Command):
    """Calls a method, with an option for each field of its request."""

    def __init__(self, name: str, method: MethodDescriptor, comments: Mapping[str, str]) -> None:
        self._method = method
        fields = [] if method.client_streaming else list(field_options(method.input_type, comments))
        own_flags = {flag for option in fields for flag in option.opts}
        self._field_names = {option.name for option in fields}
        super().__init__(
            name,
            params=[*fields, *_request_options(method, own_flags), *connection_options(own_flags=own_flags)],
            callback=self._run,
            help=comments.get(f"{method.containing_service.name}.{method.name}"),
        )

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the options of the request apart from those of every command."""
        sections: dict[str, list[tuple[str, str]]] = {"Request": [], "Options": []}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None:
                sections["Request" if param.name in self._field_names else "Options"].append(record)
        for title, records in sections.items():
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)

    def _run(self, **parameters: Any) -> None:
        context = click.get_current_context()
        given = given_options(context)
        with open_channel(given) as channel, _exiting_with_status():
            paging = bool(parameters.get("all_pages"))
            printer = _printer(self._method, given["output"], paging=paging)
            for response in self._responses(channel, self._request(parameters), given["timeout"], paging=paging):
                printer.print(response)

    def _request(self, parameters: Mapping[str, Any]) -> Any:
        message_class = GetMessageClass(self._method.input_type)
        base = parameters.get("request_json")
        text = sys.stdin.read() if base == "-" else base
        if self._method.client_streaming:
            return list(parse_lines(message_class, (text or "").splitlines()))
        return message_from(message_class, parameters, text)

    def _responses(self, channel: Channel, request: Any, timeout: float | None, *, paging: bool) -> Iterator[Message]:
        if self._method.server_streaming:
            with channel.call(self._method, request, timeout=timeout) as call:
                yield from call
            return

        def fetch(token: str) -> Any:
            if token:
                request.page_token = token
            return channel.call(self._method, request, timeout=timeout or DEFAULT_TIMEOUT).result()

        if paging:
            yield from all_pages(fetch, _row_count)
        else:
            yield fetch("")


def _request_options(method: MethodDescriptor, own_flags: set[str]) -> Iterator[click.Option]:
    if "--request" not in own_flags:
        one = "one message a line" if method.client_streaming else "other options replace its fields"
        yield click.Option(
            ["request_json", "--request"],
            metavar="JSON",
            help=f"The whole request as JSON, {one}; - reads it from standard input.",
        )
    if "--all" not in own_flags and _pages(method):
        yield click.Option(["all_pages", "--all"], is_flag=True, help="Get this page and all that follow.")


def _pages(method: MethodDescriptor) -> bool:
    def has(descriptor: Descriptor, name: str) -> bool:
        return name in descriptor.fields_by_name

    streams = method.client_streaming or method.server_streaming
    return not streams and has(method.input_type, "page_token") and has(method.output_type, "next_page_token")


def _row_count(page: Message) -> int:
    return sum(len(value) for field, value in page.ListFields() if is_repeated(field))


def _printer(method: MethodDescriptor, output: str | None, *, paging: bool) -> Printer:
    if output == "json":
        return JsonPrinter()
    return TablePrinter(method.output_type, streaming=method.server_streaming, paging=paging)


@contextlib.contextmanager
def _exiting_with_status() -> Iterator[None]:
    """Print the status of a failed call, and exit with its code."""
    try:
        yield
    except CallError as error:
        echo_error(error)
        raise SystemExit(exit_code(error.code)) from None


# Help texts, which descriptors do not have


def read_comments(proto: str) -> Mapping[str, str]:
    """Read the comments directly above definitions, by the name of the definition and those around it.

    These are ``"Service.Method"`` and ``"Message.field"``; definitions without a comment are left out. Paragraphs are
    separated by an empty line. The file is one of ours: one definition a line, comments on lines of their own.
    """
    comments: dict[str, str] = {}
    around: list[str] = []
    above: list[str] = []
    for line in map(str.strip, proto.splitlines()):
        if line.startswith("//"):
            above.append(line[2:].strip())
            continue
        match = _BLOCK.match(line) or _FIELD.match(line)
        if match and above:
            comments[".".join([*filter(None, around), match[1]])] = "\n".join(above)
        above = []
        if line.endswith("{"):
            around.append(match[1] if match and not line.startswith("oneof") else "")
        elif line.startswith("}"):
            around.pop()
    return comments


# The same for every service


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
            help="Examines a running server: reachability, methods, protocols, authentication, CORS, clocks and"
            " versions. It changes nothing there."
            "\n\nExits with 1 when a check fails; a warning is no failure.",
        )

    def _run(self, origin: str | None, **_: object) -> None:
        given = given_options(click.get_current_context())
        raise SystemExit(examine_server(self._descriptor, given, origin, as_json=given["output"] == "json"))


def examine_server(
    descriptor: ServiceDescriptor,
    given: Mapping[str, Any],
    origin: str | None,
    called: str | None = None,
    *,
    as_json: bool,
) -> int:
    """Examine a server, print the findings as they come, or as one array of JSON, and return the exit code.

    :param given: options of the connection, see :func:`open_channel`.
    :param called: see :func:`examine`.
    :raises click.UsageError: for options that cannot work.
    """
    try:
        findings = examine(
            server_url(given),
            descriptor,
            open_channel=functools.partial(open_channel, given, retry=None),
            has_credentials=bool(given["token"] or given["hmac_secret"] or given["metadata"]),
            protocol=given["protocol"] or HTTP1_PROTOCOLS[0],
            called=called,
            origin=origin,
            timeout=given["timeout"] or DOCTOR_TIMEOUT,
            ca_certs=given["ca_certs"],
        )
        found = list(findings if as_json else map(_printed, findings))
    except (ValueError, OSError) as error:
        raise click.UsageError(str(error)) from None
    if as_json:
        click.echo(safe_json([dataclasses.asdict(finding) for finding in found]))
    return int(any(finding.level == "fail" for finding in found))


def _printed(finding: Diagnosis) -> Diagnosis:
    click.echo(f"{finding.level:{LEVEL_WIDTH}}{finding.subject:{SUBJECT_WIDTH}}{printable(finding.text)}")
    if finding.advice:
        click.echo(" " * (LEVEL_WIDTH + SUBJECT_WIDTH) + printable(finding.advice))
    return finding


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion_command(context: click.Context, shell: str) -> None:
    """Print a script that completes commands and options: eval "$(scm-grpc completion bash)"."""
    root = context.find_root()
    program = root.info_name or ""
    script = get_completion_class(shell)
    assert script is not None
    variable = f"_{program.replace('-', '_').upper()}_COMPLETE"
    click.echo(script(root.command, {}, program, variable).source())
