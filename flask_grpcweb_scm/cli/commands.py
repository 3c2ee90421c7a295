"""The commands of ``flask grpc``: services, calls, descriptors, tokens, projects, and advice on the configuration."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import IO, Any

import click
from flask import current_app
from flask.cli import with_appcontext
from google.protobuf.message import Message

from flask_grpcweb_scm.cli.check import findings
from flask_grpcweb_scm.cli.names import (
    app_state,
    complete_method,
    complete_service,
    find_method,
    find_service,
)
from flask_grpcweb_scm.cli.project import OWN_NAME, check_name, next_steps, project_files, write_files
from flask_grpcweb_scm.cli.tokens import token_cli
from flask_grpcweb_scm.rpc import RpcMethod
from flask_grpcweb_scm.rpc.protocols import HTTP1_PROTOCOLS, PROTOCOLS
from flask_grpcweb_scm.services import Descriptors, read_sets
from flask_grpcweb_scm.web.flask_internals import unproxied_app

__all__ = ["commands"]


CERTIFICATES = click.Path(exists=True, dir_okay=False)


commands = click.Group("grpc")


@commands.command("services")
@click.option("--json", "as_json", is_flag=True, help="Print an array of objects.")
@with_appcontext
def services_command(as_json: bool) -> None:
    """List every method that is served."""
    prefix = app_state().settings.url_prefix
    rows = [_method_row(prefix, method) for method in app_state().dispatcher.methods.values()]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    for row in rows:
        click.echo(f"{row['path']}  {row['request']} -> {row['response']}")


def _method_row(prefix: str, method: RpcMethod) -> dict[str, str]:
    def message_name(message: type[Message], streaming: bool) -> str:
        name: str = message.DESCRIPTOR.full_name
        return f"stream {name}" if streaming else name

    return {
        "path": prefix + method.path,
        "request": message_name(method.request_class, method.client_streaming),
        "response": message_name(method.response_class, method.server_streaming),
    }


@commands.command("call")
@click.argument("method", metavar="METHOD", shell_complete=complete_method)
@click.argument("message", metavar="[JSON]", default="{}")
@click.option("-m", "--metadata", multiple=True, metavar="NAME=VALUE", help="Request metadata; can be repeated.")
@click.option("--token", envvar="GRPC_TOKEN", help="Sent as X-Grpc-Auth-Token.  [env: GRPC_TOKEN]")
@click.option("--timeout", type=click.FloatRange(min=0, min_open=True), metavar="SECONDS", help="The call's deadline.")
@click.option("--url", help="Call a server at this URL, instead of this process.")
@click.option("--protocol", type=click.Choice(HTTP1_PROTOCOLS), help="Default: the first that is served.")
@click.option("--ca-certs", type=CERTIFICATES, metavar="FILE", help="Trust these certificates only; for --url.")
@click.option("--stream", "as_lines", is_flag=True, help="Print each response on a line of its own.")
@click.option("--json", "as_object", is_flag=True, help="Print one object: status, metadata and responses.")
@with_appcontext
def call_command(method: str, message: str, **options: Any) -> None:
    """Call a method in this process, through all of the app's hooks, and print its responses as JSON as they arrive.

    METHOD is pkg.Service/Method, or an end of that which only one method has, as SayHello. JSON is the request
    message; - reads it from standard input, one message a line for a client-streaming method.

    Exits with 0 on OK, with 64 and the number of the status on any other, and prints that to standard error.
    """
    from flask_grpcweb_scm.cli.call import CallOptions, call

    rpc_method = find_method(method)
    text = sys.stdin.read() if message == "-" else message
    raise SystemExit(call(unproxied_app(), rpc_method, text, CallOptions(**options)))


@commands.command("doctor")
@click.argument("service", required=False, shell_complete=complete_service)
@click.option("--url", required=True, help="The server, as https://host:port and an optional path.")
@click.option("--method", "called", metavar="METHOD", help="A method that may be called with an empty request.")
@click.option("--origin", metavar="ORIGIN", help="Origin of pages that should be allowed to call.")
@click.option("--token", envvar="GRPC_TOKEN", help="Sent as X-Grpc-Auth-Token.  [env: GRPC_TOKEN]")
@click.option("-m", "--metadata", multiple=True, metavar="NAME=VALUE", help="Request metadata; can be repeated.")
@click.option("--timeout", type=click.FloatRange(min=0, min_open=True), metavar="SECONDS", help="For each request.")
@click.option("--protocol", type=click.Choice(HTTP1_PROTOCOLS), help="That the server has to have.")
@click.option("--ca-certs", type=CERTIFICATES, metavar="FILE", help="Trust these certificates only.")
@click.option("--json", "as_json", is_flag=True, help="Print an array of objects.")
@with_appcontext
def doctor_command(
    service: str | None, url: str, called: str | None, origin: str | None, as_json: bool, **options: Any
) -> None:
    """Examine a running server of a service, and advise; the service can be left out where the app has one.

    Its methods are looked for, and one that is declared as NO_SIDE_EFFECTS, or --method, is called with an empty
    request.

    Exits with 1 when a check fails; a warning is no failure.
    """
    from flask_grpcweb_scm.client.cli.commands import examine_server

    given = {**options, "url": url, "hmac_secret": None, "codec": None}
    raise SystemExit(examine_server(find_service(service).descriptor, given, origin, called, as_json=as_json))


@commands.command("descriptors")
@click.option("--out", type=click.File("wb"), default="-", metavar="FILE", help="Default: standard output.")
@with_appcontext
def descriptors_command(out: IO[bytes]) -> None:
    """Write the FileDescriptorSet of all services, for buf curl, grpcurl, Postman and the like.

    Comments are in it where a descriptor set with them is beside the module, greeter.binpb beside greeter_pb2.py, or
    named in GRPC_DESCRIPTOR_SETS.
    """
    state = app_state()
    descriptors = Descriptors(read_sets(state.settings.descriptor_sets), [*state.dispatcher.services.values()])
    out.write(descriptors.file_set().SerializeToString())


@commands.command("stubs")
@click.argument("names", nargs=-1, required=True, metavar="MODULE|SERVICE...", shell_complete=complete_service)
@click.option("--write", is_flag=True, help="Write the files, beside the modules, and print their names.")
@click.option("--check", is_flag=True, help="Exit with 1 when a file is missing or stale, and write nothing.")
@click.option("--comments", type=click.File("rb"), metavar="FILE", help="Descriptors that protoc made with comments.")
@with_appcontext
def stubs_command(names: tuple[str, ...], write: bool, check: bool, comments: IO[bytes] | None) -> None:
    """Print classes with typed decorators for services, as protoc-gen-flask-grpc makes them.

    MODULE is what protoc made, as in greeter_pb2, whose services go to greeter_rpc.py; SERVICE is the full name of one
    that the app serves. The comments of the .proto are not in either: protoc writes them with --include_source_info
    and --descriptor_set_out=FILE.
    """
    from flask_grpcweb_scm.cli.stubs import find_messages, read_descriptors, stubs_of

    if write and check:
        raise click.UsageError("--write and --check exclude each other")
    descriptors = read_descriptors(comments.read()) if comments else None
    messages = [find_messages(name, app_state().dispatcher.services) for name in names]
    all_stubs = [stubs_of(file, module, descriptors) for file, module in dict.fromkeys(messages)]
    if not write and not check:
        click.echo("\n\n".join(stubs.text for stubs in all_stubs), nl=False)
        return
    outdated = [stubs for stubs in all_stubs if not stubs.are_current()]
    for stubs in outdated:
        click.echo(stubs.write() if write else stubs.problem())
    raise SystemExit(bool(check and outdated))


commands.add_command(token_cli)


@commands.command("check")
@with_appcontext
def check_command() -> None:
    """Review the configuration and print advice; prints nothing, and exits with 0, when there is none."""
    settings = app_state().settings
    if {*settings.protocols} != {*PROTOCOLS}:
        click.echo(f"GRPC_PROTOCOLS: calls are served in {' and '.join(settings.protocols)} alone.", err=True)
    advice = findings(current_app, settings)
    for line in advice:
        click.echo(line)
    if advice:
        raise SystemExit(1)
    click.echo("No advice.", err=True)


@commands.command("init")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path), default=".")
@click.option(
    "--name",
    default=OWN_NAME,
    show_default=True,
    callback=check_name,
    help="Of the service and its files, such as price_list.",
)
@click.option("--js", is_flag=True, help="With a page that calls it, at / of the app.")
@click.option("--force", is_flag=True, help="Replace files that are there.")
def init_command(folder: Path, name: str, js: bool, force: bool) -> None:
    """Write a proto, its generated code, an app and a test into FOLDER, the current one unless another is given.

    \b
    greeter.proto   the service; after a change: flask grpc generate
    greeter_pb2.py  its messages, greeter_pb2.pyi their types
    greeter_rpc.py  a class with a typed decorator for each method
    app.py          its functions, and create_app()
    test_app.py     for pytest
    ruff.toml       leaves out generated code

    It needs no app. Nothing is written when one of the files is there already.
    """  # noqa: D301  # click's sign for lines that stay as they are
    files = project_files(name, js=js)
    write_files(folder, files, force=force)
    for path in files:
        click.echo(folder / path)
    click.echo(next_steps(folder, js=js), err=True)


@commands.command("generate")
@click.argument("protos", nargs=-1, type=click.Path(exists=True, dir_okay=False), metavar="[PROTO]...")
@click.option(
    "--proto-path",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=".",
    metavar="FOLDER",
    help="That imports begin at. Default: the current one.",
)
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), metavar="FOLDER", help="Default: that of --proto-path."
)
def generate_command(protos: tuple[str, ...], proto_path: Path, out: Path | None) -> None:
    """Generate messages, their types and typed services from proto files, those below the folder unless some are given.

    It needs no app. protoc is that of grpcio-tools; where that is not installed, it is installed once into an
    environment of its own, in a folder for caches.
    """
    from flask_grpcweb_scm.cli.generate import compile_protos, find_protos, name_protos, write_generated
    from flask_grpcweb_scm.cli.protoc import python_with_protoc

    names = name_protos(proto_path, protos) if protos else find_protos(proto_path)
    changed = write_generated(out or proto_path, compile_protos(python_with_protoc(), proto_path, names))
    for path in changed:
        click.echo(path)
    if not changed:
        click.echo("Nothing has changed.", err=True)
