"""The console in Chromium: every method, every protocol; by keyboard, on a phone, in the dark; with hostile names."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format

import example_app
from flask_grpcweb_scm.client import CallError, Channel
from flask_grpcweb_scm.console import FILES
from tests import every_field_pb2
from tests.browser import console_app
from tests.browser.browser import Scenarios
from tests.browser.build import HERE, missing_tools
from tests.documents import ROOT
from tests.servers import serving

pytestmark = pytest.mark.needs("browser")

if "CI" not in os.environ and missing_tools():
    pytest.skip(missing_tools(), allow_module_level=True)

Run = Callable[..., Any]
TOKEN = "your-auth-token"
SCM, DICE = "sentry.integrations.scm.v1.ScmService", "example.dice.v1.Dice"
UNARY, STREAM = "tests.echo.v1.Echo/Unary", "tests.echo.v1.Echo/ServerStream"


@pytest.fixture
def run(chromium: Scenarios) -> Run:
    def run(scenario: str, url: str, values: object = None, pictures: str | None = None) -> Any:
        """Do what console.mjs says under a name, and return what came of it."""
        found = chromium.play("console", {"name": scenario, "url": url, "values": values, "folder": pictures})
        assert found["problems"] == []
        return found["result"]

    return run


@pytest.fixture
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[str]:
    """The example app with the demo's data, where its console is."""
    monkeypatch.setenv("FLASK_SQLALCHEMY_DATABASE_URI", f"sqlite:///{tmp_path}/scm.db")
    monkeypatch.setenv("FLASK_DICE_PAUSE", "0")
    monkeypatch.setenv("FLASK_GRPC_CONSOLE", "true")
    for name, value in getattr(request, "param", {}).items():
        monkeypatch.setenv(name, value)
    app = example_app.create_app()
    result = app.test_cli_runner().invoke(args=["scm", "demo", "--folder", str(tmp_path / "demo")])
    assert result.exit_code == 0, result.output
    with serving(app) as url:
        yield url


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(console_app.create_app(tmp_path_factory.mktemp("console"))) as url:
        yield f"{url}/tools/grpc"


# One that succeeds for each method that changes nothing, and one that fails for all.
REQUESTS = [
    (f"{DICE}/Roll", {"sides": 20}),
    (f"{DICE}/Roll", {"sides": 1}),
    (f"{DICE}/RollUntil", {"target": 6}),
    (f"{DICE}/RollUntil", {"target": 7}),
    (f"{SCM}/ListRepositories", {"organizationId": "1"}),
    (f"{SCM}/GetRepository", {"repositoryId": "1"}),
    (f"{SCM}/GetCommit", {"repositoryId": "1"}),
    (f"{SCM}/StreamRepositories", {"organizationId": "1"}),
    (f"{SCM}/ListCodeMappings", {"projectId": "1"}),
    (f"{SCM}/ListExternalIssues", {"groupId": "1"}),
]


@pytest.mark.parametrize("example", [{"FLASK_GRPC_AUTH_TOKENS": TOKEN}], indirect=True)
def test_every_method_of_the_example_is_called_in_every_protocol(run: Run, example: str) -> None:
    services = {service.full_name: service for service in map(_descriptor, (DICE, SCM))}
    everything = [f"{name}/{method.name}" for name, service in services.items() for method in service.methods]
    requests = [*REQUESTS, *((name, {"organizationId": "-1"}) for name in everything if name.startswith(SCM))]
    requests = [(name, value) for name, value in requests if _fits(services, name, value)]
    requests += [(name, {}) for name in everything if name not in {each for each, _ in requests}]
    channel = Channel(example, token=TOKEN)
    result = run("calls", f"{example}/_grpc", {"token": TOKEN, "requests": requests})
    assert result["listed"] == everything
    assert {name for name, *_ in result["found"]} == set(everything)
    # The Python client gets the same.
    expected = {json.dumps([name, value]): _code(channel, services, name, value) for name, value in requests}
    assert [row for row in result["found"] if row[3] != expected[json.dumps(row[:2])]] == []
    protocols: dict[str, set[str]] = {}
    for _, _, protocol, status in result["found"]:
        protocols.setdefault(protocol, set()).add(status)
    assert set(protocols) == {"grpc-web", "grpc-web-text", "grpc-web-json", "connect", "connect-json", "connect-get"}
    assert all("OK (0)" in statuses and len(statuses) > 1 for statuses in protocols.values())
    assert result["tokens"][0] == "UNAUTHENTICATED (16)"
    assert result["tokens"][1] == result["found"][-1][3]
    assert result["leaks"] == []


def _descriptor(name: str) -> Any:
    from example_app import dice_pb2
    from flask_grpcweb_scm.pb import scm_pb2

    file = dice_pb2 if name == DICE else scm_pb2
    return file.DESCRIPTOR.services_by_name[name.rpartition(".")[2]]


def _fits(services: Any, name: str, value: dict[str, Any]) -> bool:
    service, _, method = name.partition("/")
    names = {field.json_name for field in services[service].methods_by_name[method].input_type.fields}
    return value.keys() <= names


def _code(channel: Channel, services: Any, name: str, value: dict[str, Any]) -> str:
    from google.protobuf.message_factory import GetMessageClass

    service, _, method = name.partition("/")
    descriptor = services[service].methods_by_name[method]
    request = json_format.ParseDict(value, GetMessageClass(descriptor.input_type)())
    try:
        call = channel.call(descriptor, request)
        for _ in call:
            pass
    except CallError as error:
        return f"{error.code.name} ({error.code.value})"
    return "OK (0)"


def test_how_it_looks(run: Run, example: str) -> None:
    values = {
        "unary": [f"{SCM}/ListRepositories", {"organizationId": "1"}],
        "stream": [f"{DICE}/RollUntil", {"target": 6}],
        "failing": {"target": 60},
    }
    run("looks", f"{example}/_grpc", values, os.environ.get("CONSOLE_PICTURES"))


def test_its_modules_are_strict_in_their_types() -> None:
    options = ["--allowJs", "--checkJs", "--noEmit", "--strict", "--target", "es2022", "--module", "esnext"]
    libraries = ["--moduleResolution", "bundler", "--lib", "es2023,dom,dom.iterable"]
    tsc = HERE / "node_modules" / ".bin" / "tsc"
    files = sorted(str(path) for path in FILES.values() if path.suffix == ".js")
    done = subprocess.run(
        [str(tsc), *options, *libraries, *files], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stdout == ""


def test_by_keyboard_alone(run: Run, url: str) -> None:
    found = run("keyboard", url)
    assert found["status"] == "CANCELLED (1)"
    assert found["place"] == "Call"
    assert found["after"] == "Copy as …"
    assert found["copied"].startswith("# Descriptors")


EVERY_FIELD: dict[str, Any] = {
    "scalars": {
        "doubleValue": 0.1, "floatValue": 0.1, "int32Value": -5, "int64Value": "-9223372036854775808",
        "uint32Value": 4294967295, "uint64Value": "18446744073709551615", "sint32Value": -2147483648,
        "sint64Value": "-9223372036854775808", "fixed32Value": 4294967295, "fixed64Value": "18446744073709551615",
        "sfixed32Value": -1, "sfixed64Value": "-1", "boolValue": True, "stringValue": "größer 🐈\nzwei",
        "bytesValue": "/wD+", "enumValue": "COLOUR_NEGATIVE",
    },
    "optionals": {"int32Value": 0, "boolValue": False, "stringValue": "", "bytesValue": "", "messageValue": {}},
    "lists": {
        "doubles": [1.5, "NaN", "-Infinity"], "int64s": ["1", "-1"], "bools": [True, False], "strings": ["", "a"],
        "bytesValues": ["AA=="], "enums": ["COLOUR_RED", "COLOUR_LAST"], "messages": [{}, {"int32Value": 1}],
    },
    "maps": {
        "strings": {"a": "b", "": ""}, "bools": {"true": False}, "int64s": {"-1": 2.5}, "fixed64s": {"7": "COLOUR_RED"},
        "sfixed32s": {"-3": {"stringValue": "x"}}, "timestamps": {"t": "2030-01-31T12:00:00.000000001Z"},
        "values": {"n": None, "l": [1, "a", {"b": False}]}, "wrappers": {"w": ""}, "lists": {"1": {"int32s": [1, 2]}},
    },
    "oneOf": {"empty": {}, "beside": "b", "alone": False},
    "ofProtobuf": {
        "timestamp": "1969-12-31T23:59:59.500Z", "duration": "-1.500s", "fieldMask": "a,bC.dE",
        "struct": {"a": [None, True, 1.5, {"b": "c"}]}, "value": "text", "listValue": [1, None],
        "any": {"@type": "type.googleapis.com/google.protobuf.Duration", "value": "2s"},
        "doubleWrapper": 0, "int64Wrapper": "0", "boolWrapper": False, "stringWrapper": "", "bytesWrapper": "AA==",
        "timestamps": ["2030-01-31T12:00:00Z"],
        "anys": [{"@type": "type.googleapis.com/tests.every_field.v1.Tree", "name": "x"}],
        "wrappers": ["9007199254740993"],
    },
    "names": {"another name": "x", "@type": "y", "innerNames": {"from": "z"}},
    "tree": {
        "name": "root", "left": {"left": {"name": "deep"}}, "branches": [{"branches": [{}]}],
        "named": {"k": {"name": "v"}},
    },
}  # fmt: skip


def test_every_kind_of_field_comes_back_from_the_form(run: Run, url: str) -> None:
    expected = json_format.ParseDict(EVERY_FIELD, every_field_pb2.EveryField())
    for protocol, (status, message, responses) in run("fields", url, EVERY_FIELD).items():
        assert (status, message) == ("OK (0)", ""), protocol
        # What is shown is what the server has sent, and what has been sent is what was written.
        assert [json_format.ParseDict(each, every_field_pb2.EveryField()) for each in responses] == [expected], protocol


def test_texts_of_attackers_stay_texts(run: Run, url: str) -> None:
    found = run("hostile", url, console_app.HOSTILE)
    assert (found["nothing"], found["named"]) == ("{}", '{"constructor":"a","__proto__":"b","isPrototypeOf":""}')
    assert not found["hasToken"]
    assert found["before"] == 0
    assert found["echoed"] == {"text": console_app.HOSTILE}
    assert found["failed"]["status"] == "NOT_FOUND (5)"
    assert found["failed"]["message"] == f"größer: {console_app.HOSTILE}"
    assert "google.rpc.ErrorInfo" in found["failed"]["details"][0]
    assert '"domain": "example"' in found["failed"]["details"][0]
    assert found["markup"] == 0


def test_thousands_of_methods_and_messages(run: Run, tmp_path: Path) -> None:
    with serving(console_app.create_app(tmp_path, console_app.MANY)) as url:
        found = run("many", f"{url}/tools/grpc")
    assert found["filtered"] == [f"11 of {console_app.MANY + 7} methods", 11]
    assert (found["status"], found["shown"]) == ("OK (0)", 200)
    assert json.loads(found["last"])["number"] == 4999
    assert found["notice"] == "The last 200 of 5000 messages are shown."


SNIPPETS = [
    (UNARY, {"text": 'it\'s $HOME \\ "ä" %s', "count": 7}, protocol)
    for protocol in ("grpc-web", "grpc-web-text", "grpc-web-json", "connect", "connect-json")
] + [
    ("tests.echo.v1.Lookup/Find", {"text": "a & b", "count": 7}, "connect-get"),
    (STREAM, {"text": "streamed", "count": 2}, "connect"),
    ("tests.echo.v1.Echo/ClientStream", [{"text": "one"}, {"text": "it's"}], "grpc-web"),
]

RUN_ALL = """
import json, sys
for script in json.load(sys.stdin):
    exec(script, {"__name__": "__main__"})
print("\\nall")
"""


def test_what_is_copied_runs(run: Run, url: str) -> None:
    copied = run("snippets", url, SNIPPETS)
    for (name, request, protocol), texts in zip(SNIPPETS, copied, strict=True):
        wanted = " ".join(each["text"] for each in request) if isinstance(request, list) else request["text"]
        done = subprocess.run(["sh", "-c", texts["curl"]], capture_output=True, timeout=30, cwd=ROOT, check=False)
        assert done.returncode == 0, (protocol, texts["curl"], done.stderr)
        if protocol in {"grpc-web", "connect"}:
            assert wanted.encode() in done.stdout, (name, protocol)
        assert texts["grpcurl"].endswith(f"\n  {name}")
        assert "createClient(" in texts["connect-web"]
    # One Python for all: to start one takes longer than a call.
    scripts = json.dumps([texts["Python"] for texts in copied])
    done = subprocess.run(
        [sys.executable, "-c", RUN_ALL], input=scripts.encode(), capture_output=True, timeout=60, cwd=ROOT, check=False
    )
    assert (done.returncode, done.stdout[-5:]) == (0, b"\nall\n"), (scripts, done.stderr)
