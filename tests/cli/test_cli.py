"""``flask grpc …``."""

from __future__ import annotations

import contextvars
import json
import ssl
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner, Result
from flask import Flask, request
from flask.cli import FlaskGroup, ScriptInfo
from google.protobuf import descriptor_pool
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from werkzeug.middleware.proxy_fix import ProxyFix

from example_app import create_app
from flask_grpcweb_scm import CallContext, ConfigError, RpcError, StatusCode
from flask_grpcweb_scm.testing import recording
from tests.apps import ECHO, echo_app
from tests.client.scripted import http, serve
from tests.client.test_http_tls import CERTIFICATE
from tests.echo_pb2 import EchoReply, EchoRequest
from tests.security.support import FULL, SECRET_KEY
from tests.servers import serving


def run(*arguments: str, app: Flask | None = None, **options: Any) -> Result:
    return (app or echo_app()).test_cli_runner().invoke(args=["grpc", *arguments], **options)


def test_services_lists_every_method_with_its_shape() -> None:
    output = run("services").output
    assert f"{ECHO}Unary  tests.echo.v1.EchoRequest -> tests.echo.v1.EchoReply\n" in output
    assert f"{ECHO}Bidi  stream tests.echo.v1.EchoRequest -> stream tests.echo.v1.EchoReply\n" in output


def test_services_as_json_has_the_whole_path() -> None:
    rows = json.loads(run("services", "--json", app=echo_app(GRPC_URL_PREFIX="/rpc")).output)
    assert rows[0] == {
        "path": f"/rpc{ECHO}Unary",
        "request": "tests.echo.v1.EchoRequest",
        "response": "tests.echo.v1.EchoReply",
    }


@pytest.mark.parametrize(
    ("arguments", "stdin", "printed"),
    [
        (["Unary", '{"text": "hi"}'], None, [{"text": "HI"}]),
        (["Unary", "-"], '{"text": "hi"}', [{"text": "HI"}]),
        (["Unary"], None, [{}]),
        (["ServerStream", '{"text": "é", "count": 2}'], None, [{"text": "é"}, {"text": "é", "number": 1}]),
        (["ClientStream", "-"], '{"text": "a"}\n{"text": "b"}\n', [{"text": "a,b"}]),
        (["Unary", '{"text": "hi"}', "--timeout", "5"], None, [{"text": "HI"}]),
    ],
)
@pytest.mark.parametrize("prefix", ["", "/rpc"])
@pytest.mark.parametrize(
    ("given", "served"),
    [([], ["grpc-web", "connect"]), ([], ["connect"]), (["--protocol", "connect"], ["grpc-web", "connect"])],
)
def test_call_prints_the_responses(
    arguments: list[str], stdin: str | None, printed: list[Any], prefix: str, given: list[str], served: list[str]
) -> None:
    app = echo_app(GRPC_URL_PREFIX=prefix, GRPC_PROTOCOLS=served)
    result = run("call", ECHO + arguments[0], *arguments[1:], *given, input=stdin, app=app)
    assert result.exit_code == 0
    assert result.stdout == "".join(json.dumps(row, indent=2, ensure_ascii=False) + "\n" for row in printed)


@pytest.mark.parametrize(
    ("arguments", "exit_code", "stderr"),
    [
        (["Missing", "{}"], 76, "UNIMPLEMENTED (12): /tests.echo.v1.Echo/Missing is not implemented by this server\n"),
        (["Unary", '{"text: 1'], 2, "the request is not a tests.echo.v1.EchoRequest"),
        (["Unary", '{"txt": 1}'], 2, 'has no field named "txt"'),
        (["ClientStream", "[]"], 2, "the request is not a tests.echo.v1.EchoRequest"),
        (["Unary", "{}", "-m", "grpc-status=0"], 2, "is reserved for the protocol"),
        (["Unary", "{}", "--url", "example.test"], 2, "is not the URL of a server"),
        (["Unary", "{}", "--url", "http://127.0.0.1:1"], 78, "UNAVAILABLE (14): "),
        (["Missing", "{}", "--protocol", "connect"], 76, "UNIMPLEMENTED (12): /tests.echo.v1.Echo/Missing is not"),
        (["Unary", "{}", "--protocol", "grpc"], 2, "'grpc' is not one of 'grpc-web', 'connect'"),
        (["Unari"], 2, "did you mean '/tests.echo.v1.Echo/Unary'?"),
        (["Unary", "{}", "-m", "x"], 2, "'x' is not NAME=VALUE"),
        (["Unary", "{}", "--timeout", "0"], 2, "not in the range"),
    ],
)
def test_call_says_what_went_wrong(arguments: list[str], exit_code: int, stderr: str) -> None:
    result = run("call", ECHO[1:] + arguments[0], *arguments[1:])
    assert (result.exit_code, result.stdout) == (exit_code, "")
    assert stderr in result.stderr


@pytest.mark.parametrize(
    "name",
    [
        "Unary", "Echo/Unary", "Echo.Unary", "v1.Echo/Unary", "tests.echo.v1.Echo/Unary", "tests.echo.v1.Echo.Unary",
        "/tests.echo.v1.Echo/Unary", "/rpc/tests.echo.v1.Echo/Unary",
    ],
)  # fmt: skip
def test_an_end_of_a_name_will_do(name: str) -> None:
    result = run("call", name, '{"text": "hi"}', app=echo_app(GRPC_URL_PREFIX="/rpc"))
    assert (result.stderr, json.loads(result.stdout)) == ("", {"text": "HI"})


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Unari", "no method 'Unari' is served; did you mean 'Unary'?"),
        ("Bcho/Unary", "no method 'Bcho/Unary' is served; "),
        ("ary", "no method 'ary' is served; "),
        ("ho/Unary", "no method 'ho/Unary' is served; "),
        ("nothing-like-it", "no method 'nothing-like-it' is served; see: flask grpc services"),
        ("", "no method '' is served; see: flask grpc services"),
        (
            "ServerReflectionInfo",
            "'ServerReflectionInfo' is a method of 2 services; name one:"
            " grpc.reflection.v1.ServerReflection/ServerReflectionInfo,"
            " grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        ),
    ],
)
def test_a_name_of_no_method_or_of_several_is_said(name: str, message: str) -> None:
    result = run("call", name, app=echo_app(GRPC_REFLECTION=True))
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr


@pytest.mark.parametrize(
    ("words", "completions"),
    [
        ("flask grpc call Un", {"Unary"}),
        ("flask grpc call tests.echo.v1.Echo/U", {"tests.echo.v1.Echo/Unary"}),
        ("flask grpc call ServerR", set()),
        ("flask grpc call grpc.reflection.v1a", {"grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"}),
        ("flask grpc doctor tests", {"tests.echo.v1.Echo"}),
        ("flask grpc token issue --method Un", set()),
        ("flask grpc token issue --method tests.echo.v1.Echo/*", {"tests.echo.v1.Echo/*"}),
    ],
)
def test_a_shell_gets_methods_and_services(words: str, completions: set[str]) -> None:
    app = echo_app(GRPC_REFLECTION=True)
    arguments, incomplete = words.split()[1:-1], words.split()[-1]
    command = FlaskGroup(create_app=lambda: app)
    found = ShellComplete(command, {"obj": ScriptInfo(create_app=lambda: app)}, "flask", "_FLASK_COMPLETE")
    # A shell starts a process for it, which ends; older versions of Flask leave the context of the app there.
    items = contextvars.copy_context().run(found.get_completions, arguments, incomplete)
    assert {item.value for item in items} == completions


# Flask finds the commands by an entry point


NO_APP = "Could not locate a Flask application"
NO_RPCS = "the app 'app' has no RPCs: GrpcWebScm(app, services=[…]) in its factory adds some"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (None, NO_APP),
        ("from flask import Flask\napp = Flask('app')", NO_RPCS),
        ("import gone", "While importing 'app', an ImportError was raised"),
    ],
)
@pytest.mark.parametrize(
    "command", [["services"], ["call", "Unary"], ["doctor", "--url=http://127.0.0.1:1"], ["check"]]
)
def test_without_an_app_that_has_rpcs_a_command_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str | None, message: str, command: list[str]
) -> None:
    result = contextvars.copy_context().run(run_flask, tmp_path, monkeypatch, source, "grpc", *command)
    assert (result.exit_code != 0, message in result.output) == (True, True), result.output


@pytest.mark.parametrize("source", [None, "from flask import Flask\napp = Flask('app')", "import gone", "1 / 0"])
def test_without_such_an_app_a_shell_gets_commands_and_no_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str | None
) -> None:
    def completed(words: str) -> set[str]:
        command = "COMP_WORDS", words, "COMP_CWORD", str(len(words.split()) - 1), "_FLASK_COMPLETE", "bash_complete"
        for name, value in zip(command[::2], command[1::2], strict=True):
            monkeypatch.setenv(name, value)
        result = contextvars.copy_context().run(run_flask, tmp_path, monkeypatch, source)
        assert result.exception is None or isinstance(result.exception, SystemExit)
        return {line.partition(",")[2] for line in result.output.split()}

    assert completed("flask grpc gen") == {"generate"}
    assert completed("flask grpc call Un") == set()
    assert completed("flask grpc doctor ec") == set()
    assert completed("flask grpc token issue --method te") == set()


def run_flask(folder: Path, monkeypatch: pytest.MonkeyPatch, source: str | None, *arguments: str) -> Result:
    """Run ``flask`` in a folder with this app.py, or without one."""
    if source is not None:
        (folder / "app.py").write_text(source)
    monkeypatch.chdir(folder)
    monkeypatch.delenv("FLASK_APP", raising=False)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "app", raising=False)
    try:
        return CliRunner().invoke(FlaskGroup(name="flask"), arguments, prog_name="flask")
    finally:
        sys.modules.pop("app", None)


def _tls() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    return context


@pytest.mark.parametrize("group", ["grpc", "scm"])
def test_an_app_may_change_the_commands_of_a_group(group: str) -> None:
    commands = create_app().cli.commands[group].commands  # type: ignore[attr-defined]
    commands["mine"] = click.Command("mine", callback=lambda: click.echo("mine ran"))
    try:
        runner = create_app().test_cli_runner()
        assert runner.invoke(args=[group, "mine"]).output == "mine ran\n"
        assert "mine" in runner.invoke(args=[group, "--help"]).output
    finally:
        del commands["mine"]
    assert "No such command 'mine'" in runner.invoke(args=[group, "mine"]).output


def test_certificates_are_for_a_server(tmp_path: Path) -> None:
    with serve(lambda peer: peer.send(http()), _tls()) as server:
        arguments = ["call", "Unary", "--url", server.url]
        assert "CERTIFICATE_VERIFY_FAILED" in run(*arguments).stderr
        assert "CERTIFICATE" not in run(*arguments, "--ca-certs", str(CERTIFICATE)).stderr
    result = run("call", "Unary", "--ca-certs", str(CERTIFICATE))
    assert (result.exit_code, "--ca-certs is for --url" in result.stderr) == (2, True)
    (tmp_path / "empty").touch()
    assert run(*arguments, "--ca-certs", str(tmp_path / "empty")).exit_code == 2


def test_call_sends_metadata_and_a_token_through_the_hooks_of_the_app() -> None:
    app = echo_app(GRPC_AUTH_TOKENS="t")
    seen = []
    app.before_request(lambda: seen.append(request.headers["x-a"]))
    assert run("call", ECHO + "Unary", "{}", "-m", "x-a=1=2", "--token", "t", app=app).exit_code == 0
    assert seen == ["1=2"]
    result = run("call", ECHO + "Unary", "{}", "-m", "x-a=1", app=app)
    assert "UNAUTHENTICATED (16)" in result.stderr
    assert run("call", ECHO + "Unary", "{}", "-m", "x-a=1", app=app, env={"GRPC_TOKEN": "t"}).exit_code == 0


def replies(request: EchoRequest, context: CallContext) -> Iterator[EchoReply]:
    context.initial_metadata.add("x-first", "1")
    context.trailing_metadata.add("x-last-bin", b"\xff")
    yield EchoReply(text="é", number=1)
    yield EchoReply(number=2)
    if request.text:
        raise RpcError(StatusCode.DATA_LOSS, request.text, [EchoReply(text="detail")])


def test_call_prints_a_stream_line_by_line() -> None:
    result = run("call", ECHO + "ServerStream", "--stream", app=echo_app(ServerStream=replies))
    assert (result.exit_code, result.stdout) == (0, '{"text": "é", "number": 1}\n{"number": 2}\n')


@pytest.mark.parametrize(
    ("text", "exit_code", "status"),
    [
        ("", 0, {"code": 0, "name": "OK"}),
        (
            "torn",
            79,
            {
                "code": 15,
                "name": "DATA_LOSS",
                "message": "torn",
                "details": [{"@type": "type.googleapis.com/tests.echo.v1.EchoReply", "text": "detail"}],
            },
        ),
    ],
)
def test_call_prints_one_object_with_everything(text: str, exit_code: int, status: dict[str, Any]) -> None:
    request_text = json.dumps({"text": text})
    result = run("call", ECHO + "ServerStream", request_text, "--json", app=echo_app(ServerStream=replies))
    assert (result.exit_code, result.stderr) == (exit_code, "")
    printed = json.loads(result.stdout)
    assert printed["status"] == status
    assert printed["responses"] == [{"text": "é", "number": 1}, {"number": 2}]
    assert printed["initialMetadata"]["x-first"] == ["1"]
    assert printed["trailingMetadata"] == {"x-last-bin": ["/w"]}


def test_call_of_a_server() -> None:
    app = echo_app(GRPC_AUTH_TOKENS="t", GRPC_URL_PREFIX="/rpc")
    with serving(app) as url:
        arguments = ["call", ECHO + "Unary", '{"text": "hi"}', "--url", url + "/rpc", "--timeout", "5"]
        assert json.loads(run(*arguments, "--token", "t").stdout) == {"text": "HI"}
        assert run(*arguments).exit_code == 80


def diagnoses(*arguments: str, exit_code: int, app: Flask | None = None) -> dict[str, dict[str, str]]:
    app = app or echo_app(GRPC_AUTH_TOKENS="t", GRPC_URL_PREFIX="/rpc")
    with serving(app) as url:
        result = run("doctor", "--url", url + "/rpc", "--token", "t", "--json", *arguments, app=app)
    assert result.exit_code == exit_code, result.output
    return {finding["subject"]: finding for finding in json.loads(result.stdout)}


@pytest.mark.parametrize("service", [[], ["Echo"], ["tests.echo.v1.Echo"]])
def test_the_doctor_examines_own_services_and_calls_nothing_that_has_effects(service: list[str]) -> None:
    app = echo_app(GRPC_AUTH_TOKENS="t", GRPC_URL_PREFIX="/rpc")
    with recording(app) as recorder:
        findings = diagnoses(*service, exit_code=0, app=app)
    assert findings["methods"]["text"] == "all 5 of tests.echo.v1.Echo are served"
    assert findings["calls"]["level"] == "warn"
    assert "--method" in findings["calls"]["advice"]
    assert recorder.calls == []


def test_the_doctor_calls_the_method_that_may_be_called() -> None:
    findings = diagnoses("--method", "Unary", exit_code=0)
    assert findings["Connect"]["text"] == "POST, with proto and JSON"
    assert findings["authentication"]["level"] == "ok"
    assert findings["calls"]["text"] == "an empty Unary ends with OK (0)"
    assert {"gRPC-Web", "Connect", "CORS"} <= {*findings}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["Ecko"], "no service 'Ecko' is served"),
        (["--method", "ServerStream"], "tests.echo.v1.Echo has no unary method 'ServerStream'"),
        (["--method", "Unari"], "no unary method 'Unari'; did you mean 'Unary'?"),
    ],
)
def test_what_the_doctor_cannot_examine_is_said(arguments: list[str], message: str) -> None:
    result = run("doctor", "--url", "http://127.0.0.1:1", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr


def test_the_doctor_needs_the_name_of_one_of_several_services() -> None:
    app = create_app()
    result = run("doctor", "--url", "http://127.0.0.1:1", app=app)
    listed = "2 services are served; name one: example.dice.v1.Dice, sentry.integrations.scm.v1.ScmService"
    assert listed in result.stderr


def test_descriptors_are_complete_and_in_order(tmp_path: Path) -> None:
    file = tmp_path / "services.binpb"
    assert run("descriptors", "--out", str(file)).exit_code == 0
    pool = descriptor_pool.DescriptorPool()
    for proto in FileDescriptorSet.FromString(file.read_bytes()).file:
        pool.Add(proto)
    assert pool.FindServiceByName("tests.echo.v1.Echo").methods_by_name["Bidi"].client_streaming


SCOPE = {"organizations": ["demo"], "methods": [ECHO[1:] + "*"]}
SOUND: dict[str, Any] = {
    "GRPC_AUTH_TOKENS": {FULL: SCOPE},
    "GRPC_MAX_TIMEOUT": 60,
    "GRPC_RATE_LIMITS": "100/minute",
    "SECRET_KEY": SECRET_KEY,
}


def sound_app(**config: Any) -> Flask:
    app = echo_app(**{**SOUND, **config})
    app.wsgi_app = ProxyFix(app.wsgi_app)  # type: ignore[method-assign]
    return app


def test_check_has_nothing_to_remark_on_a_sound_configuration() -> None:
    result = run("check", app=sound_app())
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "No advice.\n")


def test_check_shows_that_a_protocol_is_not_served() -> None:
    result = run("check", app=sound_app(GRPC_PROTOCOLS="connect"))
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == "GRPC_PROTOCOLS: calls are served in connect alone.\nNo advice.\n"


@pytest.mark.parametrize(
    ("config", "advice"),
    [
        ({"GRPC_HMAC_SECRETS": "", "GRPC_AUTH_TOKENS": "", "GRPC_REQUIRE_AUTH": False}, "is set, but holds nothing"),
        ({"SECRET_KEY": None, "GRPC_SCM": True}, "SECRET_KEY is not set"),
        ({"GRPC_AUTH_TOKENS": {"short": SCOPE}}, "GRPC_AUTH_TOKENS has a value of fewer than 32 characters"),
        (
            {"GRPC_HMAC_SECRETS": "short", "GRPC_HMAC_REQUIRE_TIMESTAMP": True},
            "GRPC_HMAC_SECRETS has a value of fewer than 32 characters",
        ),
        ({"GRPC_CORS_ORIGINS": "*"}, "GRPC_CORS_ORIGINS is '*'"),
        ({"GRPC_MAX_TIMEOUT": None}, "GRPC_MAX_TIMEOUT is not set"),
    ],
)
def test_check_gives_advice_and_exits_with_1(config: dict[str, Any], advice: str) -> None:
    result = run("check", app=sound_app(**config))
    assert result.exit_code == 1
    lines = result.output.splitlines()
    assert [line for line in lines if advice in line] == lines != []


def test_check_remarks_on_debug_mode() -> None:
    assert "debug mode" in run("check", app=sound_app(), env={"FLASK_DEBUG": "1"}).output


SECRETS: dict[str, Any] = {"GRPC_TOKEN_SECRETS": ["new" * 11, "old" * 11]}


def test_an_issued_token_lets_its_bearer_in_and_no_further() -> None:
    app = echo_app(**SECRETS)
    issued = run("token", "issue", "--name", "ci", "--method", f"{ECHO[1:]}Unary", "--expires", "30m", app=app)
    token = issued.output.strip()
    assert run("call", ECHO + "Unary", "--token", token, app=app).exit_code == 0
    assert "PERMISSION_DENIED (7): ci (token " in run("call", ECHO + "ServerStream", "--token", token, app=app).stderr
    assert "UNAUTHENTICATED (16)" in run("call", ECHO + "Unary", "--token", token[:-1], app=app).stderr


@pytest.mark.parametrize("stdin", [False, True])
def test_inspect_prints_what_a_token_says(stdin: bool) -> None:
    app = echo_app(**SECRETS)
    arguments = ["--name", "ci", "--organization", "7", "--organization", "demo", "--repository", "acme/shop"]
    arguments += ["--project", "9", "--project", "web"]
    token = run("token", "issue", *arguments, app=app).output.strip()
    result = run("token", "inspect", "-", app=app, input=token) if stdin else run("token", "inspect", token, app=app)
    claims = json.loads(result.output)
    assert (claims["organizations"], claims["methods"]) == ([7, "demo"], "all")
    assert (claims["repositories"], claims["projects"]) == (["acme/shop"], [9, "web"])
    revoking = echo_app(**SECRETS, GRPC_REVOKED_TOKENS=[claims["id"]])
    assert "the token is revoked" in run("token", "inspect", token, app=revoking).stderr
    assert "the token is revoked" in run("call", ECHO + "Unary", "--token", token, app=revoking).stderr


def test_the_old_secret_still_reads_and_the_new_one_signs() -> None:
    old = run("token", "issue", "--name", "a", app=echo_app(GRPC_TOKEN_SECRETS=SECRETS["GRPC_TOKEN_SECRETS"][1:]))
    assert run("token", "inspect", old.output.strip(), app=echo_app(**SECRETS)).exit_code == 0
    new = run("token", "issue", "--name", "a", app=echo_app(**SECRETS)).output.strip()
    assert run("token", "inspect", new, app=echo_app(GRPC_TOKEN_SECRETS="new" * 11)).exit_code == 0
    assert run("token", "inspect", new, app=echo_app(GRPC_TOKEN_SECRETS="old" * 11)).exit_code == 1


@pytest.mark.parametrize(
    ("arguments", "config", "message"),
    [
        (["issue", "--name", "a"], {}, "GRPC_TOKEN_SECRETS is not set"),
        (["issue"], SECRETS, "Missing option '--name'"),
        (["issue", "--name", "a", "--method", ECHO[1:] + "Unari"], SECRETS, "did you mean 'tests.echo.v1.Echo/Unary'?"),
        (["issue", "--name", "a", "--expires", "7"], SECRETS, "'7' is not a number and one of s, m, h, d"),
        (["issue", "--name", "a", "--expires", "0d"], SECRETS, "'0d' is not"),
        (["issue", "--name", "a", "--organization", ""], SECRETS, "organizations are not a list of ids or slugs"),
        (["issue", "--name", "a", "--repository", " "], SECRETS, "repositories are not a list of ids or names"),
        (["issue", "--name", "a", "--project", ""], SECRETS, "projects are not a list of ids or slugs"),
        (["issue", "--name", "a", "--method", ""], SECRETS, "--method: no method '' is served"),
        (["inspect", "forged"], SECRETS, "the token is not valid"),
    ],
)
def test_token_commands_say_what_is_wrong(arguments: list[str], config: dict[str, Any], message: str) -> None:
    result = run("token", *arguments, app=echo_app(**config))
    assert result.exit_code != 0
    assert message in result.stderr


@pytest.mark.parametrize("command", [["grpc", "services"], ["run"], ["routes"], ["shell"]], ids=" ".join)
def test_a_configuration_that_cannot_work_is_a_sentence(command: list[str]) -> None:
    info = ScriptInfo(create_app=lambda: echo_app(GRPC_MAX_TIMEOUT=-3))
    result = CliRunner().invoke(FlaskGroup(), command, obj=info)
    assert (result.exit_code, type(result.exception)) == (2, SystemExit)
    assert "Error: GRPC_MAX_TIMEOUT: -3 is not a number of seconds above 0." in result.stderr


def test_other_commands_see_the_error_itself() -> None:
    @click.command()
    def other() -> None:
        echo_app(GRPC_MAX_TIMEOUT=-3)

    error = CliRunner().invoke(other).exception
    assert isinstance(error, ConfigError)
    assert not isinstance(error, click.ClickException)
