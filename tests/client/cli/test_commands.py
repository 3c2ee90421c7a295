"""scm-grpc against the real service over a socket."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from flask import Flask

from flask_grpcweb_scm import CallContext, RpcError, StatusCode
from flask_grpcweb_scm.client.cli import scm_grpc
from flask_grpcweb_scm.client.cli.commands import read_comments, service_group
from flask_grpcweb_scm.pb import scm_pb2
from flask_grpcweb_scm.rpc.protocols import HTTP1_PROTOCOLS
from flask_grpcweb_scm.scm import Organization, db
from flask_grpcweb_scm.testing import ScmFactory, recording
from tests.apps import echo_app
from tests.client.cli.support import run
from tests.client.scripted import http, serve
from tests.echo_pb2 import DESCRIPTOR, EchoReply, EchoRequest
from tests.scm.support import make_app
from tests.servers import serving

SERVICE = scm_pb2.DESCRIPTOR.services_by_name["ScmService"]
TOKEN = "command-line-token"
SECRET = "command-line-secret"


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flask]:
    folder = tmp_path_factory.mktemp("command-line")
    app = make_app(f"sqlite:///{folder}/scm.db", GRPC_AUTH_TOKENS=TOKEN, GRPC_HMAC_SECRETS=SECRET)
    with app.app_context():
        db.create_all()
    yield app
    with app.app_context():
        db.engine.dispose()


@pytest.fixture(scope="module")
def url(app: Flask) -> Iterator[str]:
    with serving(app) as url:
        yield url


@pytest.fixture(scope="module")
def organization(app: Flask) -> Organization:
    make = ScmFactory(app)
    organization = make.organization()
    for number in range(5):
        make.repository(organization, name=f"r{number}", external_id=str(number), provider="github")
    return organization


@pytest.fixture
def call(url: str) -> Any:
    def call(*arguments: str, **options: Any) -> Result:
        return run(*arguments, env={"SCM_GRPC_URL": url, "SCM_GRPC_TOKEN": TOKEN}, **options)

    return call


# Requests


def test_every_method_has_a_command_with_an_option_for_every_field() -> None:
    for method in SERVICE.methods:
        name = "".join(f"-{c.lower()}" if c.isupper() else c for c in method.name).removeprefix("-")
        result = run(name, "--help")
        assert result.exit_code == 0
        for field in method.input_type.fields:
            assert f"--{field.name.replace('_', '-')}" in result.output
    assert len(scm_grpc.commands) == len(SERVICE.methods) + len(["doctor", "completion"])


def test_the_proto_documents_every_command() -> None:
    for name, command in scm_grpc.commands.items():
        assert command.get_short_help_str(), name
    assert "The first line is 1." in run("get-commit-context", "--help").output
    assert "Attaches an external issue to an error group." in run("--help").output


@pytest.mark.parametrize(
    ("arguments", "request_message"),
    [
        (["list-repositories", "--organization", "7"], scm_pb2.ListRepositoriesRequest(organization_id=7)),
        (
            ["list-repositories", "--organization-id", "7", "--provider", "GitLab", "--query", "ü", "--page-size", "2"],
            scm_pb2.ListRepositoriesRequest(organization_id=7, provider="PROVIDER_GITLAB", query="ü", page_size=2),
        ),
        (["get-repository"], scm_pb2.GetRepositoryRequest()),
        (
            ["derive-code-mappings", "--organization", "1", "--project", "2", "--stacktrace-paths", "a.py",
             "--stacktrace-paths", "b.py", "--dry-run", "--frames", '{"module": "a.B", "absPath": "B.java"}'],
            scm_pb2.DeriveCodeMappingsRequest(
                organization_id=1, project_id=2, stacktrace_paths=["a.py", "b.py"], dry_run=True,
                frames=[scm_pb2.StackFrame(module="a.B", abs_path="B.java")],
            ),
        ),
        (
            ["batch-get-commit-context", "--repository", "1", "--lines", '{"filepath": "a", "line_number": 1}',
             "--lines", '{"filepath": "b"}'],
            scm_pb2.BatchGetCommitContextRequest(
                repository_id=1,
                lines=[scm_pb2.LineOfFile(filepath="a", line_number=1), scm_pb2.LineOfFile(filepath="b")],
            ),
        ),
        (
            ["create-external-issue", "--title", "t", "--metadata", "a=1=2", "--metadata", "b="],
            scm_pb2.CreateExternalIssueRequest(title="t", metadata={"a": "1=2", "b": ""}),
        ),
        (
            ["get-commit", "--request", '{"repositoryId": 1, "commitSha": "abc"}', "--commit-sha", "def"],
            scm_pb2.GetCommitRequest(repository_id=1, commit_sha="def"),
        ),
        (
            ["derive-code-mappings", "--request", '{"stacktracePaths": ["a"], "dryRun": true}', "--no-dry-run",
             "--stacktrace-paths", "b"],
            scm_pb2.DeriveCodeMappingsRequest(stacktrace_paths=["b"]),
        ),
    ],
)  # fmt: skip
def test_options_make_the_request(app: Flask, call: Any, arguments: list[str], request_message: Any) -> None:
    with recording(app) as recorder:
        call(*arguments)
    assert [recorded.request for recorded in recorder.calls] == [request_message]


def test_a_stack_trace_comes_from_a_file_or_standard_input(app: Flask, call: Any, tmp_path: Path) -> None:
    file = tmp_path / "trace.txt"
    file.write_bytes(b"at f (\xff.js:1:2)\n")
    arguments = ["find-suspect-commits", "--organization", "1", "--first-seen", "2026-01-02T03:04:05Z"]
    with recording(app) as recorder:
        call(*arguments, "--stacktrace-file", str(file), "--max-age", "86400s")
        call(*arguments, "--stacktrace-file", "-", "--stacktrace", "y", input="x\n")
        call(*arguments, "--stacktrace", "y", "--release-commits", '{"repositoryId": 1, "commitSha": "a"}')
    requests = [recorded.request for recorded in recorder.calls]
    assert [request.stacktrace for request in requests] == ["at f (\ufffd.js:1:2)\n", "x\n", "y"]
    assert requests[0].max_age.seconds == 86400
    assert {request.first_seen.ToJsonString() for request in requests} == {"2026-01-02T03:04:05Z"}
    assert requests[2].release_commits[0].commit_sha == "a"


def test_a_request_comes_from_standard_input(app: Flask, call: Any) -> None:
    with recording(app) as recorder:
        call("get-repository", "--request", "-", input='{"repositoryId": "12"}')
    assert recorder.calls[0].request == scm_pb2.GetRepositoryRequest(repository_id=12)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["list-repositories", "--provider", "githib"], "'githib' is not one of 'github', "),
        (["list-repositories", "--organization", "x"], "'x' is not a valid integer"),
        (["list-repositories", "--organization", "9" * 30], "out of range"),
        (["list-repositories", "--request", '{"organisation": 1}'], 'has no field named "organisation"'),
        (["list-repositories", "--request", "{"], "the request is not a sentry.integrations.scm.v1.ListRepositories"),
        (["list-repositories", "--metadata", "x"], "'x' is not NAME=VALUE"),
        (["list-repositories", "--metadata", "grpc-status=0"], "is reserved for the protocol"),
        (["list-repositories", "--timeout", "0"], "not in the range"),
        (["list-repositories", "--ca-certs", "/does/not/exist.pem"], "does not exist"),
        (["create-external-issue", "--metadata", "x"], "'x' is not KEY=VALUE"),
        (["derive-code-mappings", "--frames", "{"], "'{' is not JSON"),
        (["derive-code-mappings", "--frames", '{"lines": 1}'], 'is not a StackFrame'),
        (["derive-code-mappings", "--frames", "[]"], "'[]' is not a StackFrame"),
        (["list-repositorys"], "No such command 'list-repositorys'"),
        (["--url", "ftp://example.test", "list-repositories"], "is not the URL of a server"),
        (["completion", "tcsh"], "'tcsh' is not one of"),
    ],
)  # fmt: skip
def test_a_wrong_argument_is_said_and_nothing_is_sent(
    app: Flask, call: Any, arguments: list[str], message: str
) -> None:
    with recording(app) as recorder:
        result = call(*arguments)
    assert (result.exit_code, result.stdout, recorder.calls) == (2, "", [])
    assert message in result.stderr


def test_the_url_is_needed() -> None:
    result = run("get-repository")
    assert (result.exit_code, "no server: give --url, or set SCM_GRPC_URL" in result.stderr) == (2, True)


# Responses


def test_a_list_is_a_table(call: Any, organization: Organization) -> None:
    result = call("list-repositories", "--organization", str(organization.id), "--page-size", "2")
    assert result.exit_code == 0
    header, first, second, token = result.stdout.splitlines()
    assert header.split() == [
        "ID", "ORGANIZATION_ID", "NAME", "URL", "PROVIDER", "EXTERNAL_ID", "STATUS", "DATE_ADDED", "CONFIG",
    ]  # fmt: skip
    for number, row in enumerate([first, second]):
        assert row[header.index("NAME") :].split()[:4] == [f"r{number}", "github", str(number), "active"]
    assert token.startswith("next_page_token  ")


def test_a_list_as_json_has_all_fields(call: Any, organization: Organization) -> None:
    result = call("list-repositories", "--organization", str(organization.id), "--query", "none such", "-o", "json")
    assert json.loads(result.stdout) == {"repositories": [], "nextPageToken": ""}


@pytest.mark.parametrize("size", [[], ["--page-size", "2"], ["--page-size", "1"]])
def test_all_pages(app: Flask, call: Any, organization: Organization, size: list[str]) -> None:
    arguments = ["list-repositories", "--organization", str(organization.id), "--all", *size]
    lines = call(*arguments).stdout.splitlines()
    assert [line.split()[0] for line in lines][:1] == ["ID"]
    assert [line.split()[2] for line in lines[1:]] == [f"r{number}" for number in range(5)]
    with recording(app) as recorder:
        pages = "[" + call(*arguments, "-o", "json").stdout.replace("}\n{", "},{") + "]"
    names = [repository["name"] for page in json.loads(pages) for repository in page["repositories"]]
    assert names == [f"r{number}" for number in range(5)]
    assert len(recorder.calls) == len(json.loads(pages))


def test_a_stream_of_rows_has_one_header(call: Any, organization: Organization) -> None:
    lines = call("stream-repositories", "--organization", str(organization.id)).stdout.splitlines()
    assert [line.split()[2] for line in lines] == ["NAME", *(f"r{number}" for number in range(5))]


def test_one_message_is_a_list_of_its_fields(app: Flask, call: Any) -> None:
    commit = ScmFactory(app).commit(message="Subject\n\nBody with \x1b[31mcolour\x1b[0m")
    result = call("get-commit", "--repository", str(commit.repository_id), "--commit-sha", commit.key)
    assert result.stdout.splitlines()[:6] == [
        f"id             {commit.id}",
        f"repository_id  {commit.repository_id}",
        f"key            {commit.key}",
        "message        Subject",
        "",
        r"               Body with \x1b[31mcolour\x1b[0m",
    ]


def test_json_moves_no_cursor(app: Flask, call: Any) -> None:
    message = "grüße \x1b[1m \x9b1m \u202e"
    commit = ScmFactory(app).commit(message=message)
    printed = call("get-commit", "--repository", str(commit.repository_id), "--commit-sha", commit.key, "-o", "json")
    assert r"grüße \u001b[1m \u009b1m \u202e" in printed.stdout
    assert json.loads(printed.stdout)["message"] == message


@pytest.mark.parametrize("before", [True, False])
def test_common_options_stand_before_or_after_the_command(url: str, organization: Organization, before: bool) -> None:
    common = ["--url", url, "--token", TOKEN, "-m", "x-a=1", "--codec", "json", "--output", "json"]
    command = ["list-repositories", "--organization", str(organization.id)]
    result = run(*common, *command) if before else run(*command, *common)
    assert len(json.loads(result.stdout)["repositories"]) == 5


def test_what_stands_after_the_command_wins(url: str) -> None:
    result = run("--url", "http://127.0.0.1:1", "get-repository", "--url", url, env={"SCM_GRPC_URL": "http://nowhere"})
    assert "UNAUTHENTICATED" in result.stderr


def test_a_field_wins_over_a_common_option(app: Flask, call: Any) -> None:
    with recording(app) as recorder:
        call("-m", "x-a=1", "create-external-issue", "--metadata", "b=2", "-m", "x-c-bin=3")
    assert dict(recorder.calls[0].request.metadata) == {"b": "2"}  # type: ignore[attr-defined]
    received = recorder.calls[0].context.metadata
    assert (received.get("x-a"), received.get("x-c-bin"), received.get("b")) == ("1", b"3", None)


def test_credentials(url: str) -> None:
    for environ, code in [({}, 80), ({"SCM_GRPC_TOKEN": "wrong"}, 80), ({"SCM_GRPC_TOKEN": TOKEN}, 69)]:
        assert run("get-repository", "--url", url, env=environ).exit_code == code
    for secret, code in [("wrong", 80), (SECRET, 69)]:
        for protocol in HTTP1_PROTOCOLS:
            given = ["--hmac-secret", secret, "--protocol", protocol]
            assert run("get-repository", "--url", url, *given).exit_code == code


@pytest.mark.parametrize("codec", ["proto", "json"])
def test_connect(url: str, organization: Organization, codec: str) -> None:
    common = ["--url", url, "--token", TOKEN, "--protocol", "connect", "--codec", codec, "-o", "json"]
    listed = run(*common, "list-repositories", "--organization", str(organization.id), "--page-size", "2", "--all")
    assert listed.stdout.count('"name"') == 5
    streamed = run(*common, "stream-repositories", "--organization", str(organization.id))
    assert streamed.stdout.count('"name"') == 5
    failed = run(*common, "get-commit", "--repository", "1", "--commit-sha", "main")
    assert failed.exit_code == 67
    assert "fieldViolations" in failed.stderr


@pytest.mark.parametrize(
    ("arguments", "exit_code", "stderr"),
    [
        (["get-repository", "--repository", "999"], 69, "NOT_FOUND (5): repository 999 does not exist\n"),
        (["get-commit", "--repository", "1", "--commit-sha", "x"], 67, "INVALID_ARGUMENT (3): "),
        (["list-repositories", "--timeout", "0.000001"], 68, "DEADLINE_EXCEEDED (4): "),
        (["list-repositories", "--url", "http://127.0.0.1:1"], 78, "UNAVAILABLE (14): "),
    ],
)
def test_the_exit_code_says_the_status(call: Any, arguments: list[str], exit_code: int, stderr: str) -> None:
    result = call(*arguments)
    assert (result.exit_code, result.stdout) == (exit_code, "")
    assert result.stderr.startswith(stderr)


def test_details_of_an_error_are_printed(call: Any) -> None:
    result = call("get-commit", "--repository", "1", "--commit-sha", "x")
    assert '  {"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": [{"field"' in result.stderr


def test_a_redirect_gets_no_credential() -> None:
    with serve(lambda peer: peer.send(http())) as thief:
        redirect = http(b"", f"location: {thief.url}/", status="307 Temporary Redirect")
        with serve(lambda peer: peer.send(redirect)) as server:
            result = run("get-repository", "--url", server.url, env={"SCM_GRPC_TOKEN": TOKEN})
        assert (result.exit_code, thief.connections) == (66, 0)
        assert "redirects are not followed" in result.stderr


# Any service: the generator knows nothing about ours.

ECHO = service_group(DESCRIPTOR.services_by_name["Echo"], {}, help_text="Echo.")
# Without what this module imports.
ECHO_PROGRAM = """
from flask_grpcweb_scm.client.cli.commands import service_group
from tests.echo_pb2 import DESCRIPTOR
service_group(DESCRIPTOR.services_by_name["Echo"], {}, help_text="Echo.")()
"""


first_was_read = threading.Event()


@pytest.fixture(scope="module")
def echo_url() -> Iterator[str]:
    def replies(request: EchoRequest, context: CallContext) -> Iterator[EchoReply]:
        for number in range(request.count):
            yield EchoReply(text=request.text, number=number)
            if request.text == "slow" and not first_was_read.wait(30):
                raise RpcError(StatusCode.DATA_LOSS, "nobody reads the first")

    with serving(echo_app(ServerStream=replies)) as url:
        yield url


@pytest.mark.parametrize(
    ("arguments", "stdin", "stdout"),
    [
        (["unary", "--text", "a"], None, "text    A\nnumber  0\n"),
        (["server-stream", "--text", "a", "--count", "2"], None, "TEXT  NUMBER\na     0\na     1\n"),
        (["server-stream"], None, ""),
        (["client-stream", "--request", "-"], '{"text": "a"}\n\n{"text": "b"}\n', "text    a,b\nnumber  0\n"),
        (["bidi", "--request", '{"text": "語"}\n{"text": "b"}'], None, "TEXT  NUMBER\n語    0\nb     1\n"),
        (["unary", "--data", "AP8="], None, "text\nnumber  0\n"),
    ],
)
def test_every_kind_of_method(echo_url: str, arguments: list[str], stdin: str | None, stdout: str) -> None:
    result = run(*arguments, "--url", echo_url, command=ECHO, input=stdin)
    assert (result.exit_code, result.stdout) == (0, stdout), result.stderr


def test_a_method_that_is_not_implemented(echo_url: str) -> None:
    result = run("missing", "--url", echo_url, command=ECHO)
    assert (result.exit_code, result.stderr[:20]) == (76, "UNIMPLEMENTED (12): ")


@pytest.mark.parametrize("output", ["table", "json"])
@pytest.mark.needs("time")
def test_a_stream_is_printed_as_it_comes(echo_url: str, output: str) -> None:
    first_was_read.clear()
    command = [sys.executable, "-c", ECHO_PROGRAM, "server-stream", "--text", "slow", "--count", "2", "--url", echo_url]
    with subprocess.Popen([*command, "-o", output], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        first_was_read.set()
        process.stdout.read()
    assert first == ("TEXT  NUMBER\n" if output == "table" else "{\n")
    assert process.returncode == 0


# The program


def test_the_console_script_is_installed() -> None:
    scripts = {script.name: script for script in metadata.entry_points(group="console_scripts")}
    assert scripts["scm-grpc"].load() is scm_grpc


def test_the_version_is_that_of_the_package() -> None:
    result = run("--version")
    assert (result.exit_code, result.stdout) == (0, f"scm-grpc {metadata.version('flask_grpcweb_scm')}\n")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(shell: str) -> None:
    result = run("completion", shell)
    assert result.exit_code == 0
    assert "_SCM_GRPC_COMPLETE" in result.stdout


@pytest.mark.parametrize(
    ("words", "completions"),
    [
        ("scm-grpc list-r", {"list-repositories"}),
        ("scm-grpc list-c", {"list-code-mappings", "list-commits"}),
        ("scm-grpc list-repositories --prov", {"--provider"}),
        ("scm-grpc --protocol ", {"grpc-web", "connect"}),
        ("scm-grpc list-repositories --provider git", {"github", "gitlab", "github_enterprise"}),
    ],
)
@pytest.mark.needs("time")
def test_a_shell_gets_completions(words: str, completions: set[str]) -> None:
    program = Path(sys.executable).with_name("scm-grpc")
    environ = {
        **os.environ,
        "_SCM_GRPC_COMPLETE": "bash_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": str(words.count(" ")),
    }
    done = subprocess.run([program], env=environ, check=True, capture_output=True, text=True, timeout=60)
    assert {line.partition(",")[2] for line in done.stdout.splitlines()} == completions


def test_a_reader_that_has_enough_is_no_error(call: Any, url: str, organization: Organization) -> None:
    program = Path(sys.executable).with_name("scm-grpc")
    pipe = f"'{program}' list-repositories --organization {organization.id} --all --page-size 1 | head -n 1"
    environ = {**os.environ, "SCM_GRPC_URL": url, "SCM_GRPC_TOKEN": TOKEN}
    done = subprocess.run(["bash", "-c", pipe], env=environ, capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith("ID ")
    assert "Traceback" not in done.stderr


# Comments of a .proto file, found by the names of definitions

COMMENTS = """\
// Of the file.
syntax = "proto3";

// Of the service.
service S {
  // Of a method,
  // in two lines.
  rpc Plain(M) returns (M);
  rpc Silent(M) returns (stream M) {
    option idempotency_level = IDEMPOTENT;
  }
}
// Cut off.

message M {
  // Of a message in it.
  message Inner {
    // Deep.
    map<string, Inner> many = 1;
  }
  oneof choice {
    // Chosen.
    repeated .a.b.Thing thing = 2;
  }
  // After all that.
  optional int32 last = 3;
}
"""


def test_comments_are_found_by_name() -> None:
    assert read_comments(COMMENTS) == {
        "S": "Of the service.",
        "S.Plain": "Of a method,\nin two lines.",
        "M.Inner": "Of a message in it.",
        "M.Inner.many": "Deep.",
        "M.thing": "Chosen.",
        "M.last": "After all that.",
    }
