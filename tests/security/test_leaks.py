"""Every way a call can fail: strangers learn nothing of what went wrong inside, and no log has a credential."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import sqlalchemy as sa
from flask import Flask, abort
from werkzeug.exceptions import InternalServerError

from flask_grpcweb_scm import RpcError, StatusCode
from flask_grpcweb_scm.pb import scm_pb2
from flask_grpcweb_scm.scm import Integration, IssueOperation, Organization, Repository, db
from tests.apps import ECHO, echo_app
from tests.client.scripted import Peer, http, serve
from tests.echo_pb2 import EchoReply, EchoRequest
from tests.grpcweb import FOUR_CONTENT_TYPES, JSON, PROTO, body_of, frame, read
from tests.scm.databases import SqliteDatabases, disposed
from tests.scm.support import SERVICE, GitRepository, add_tenant, make_app

INSIDE = "inside-5e1d7a"
"""In the text of exceptions, in paths and in SQL: the log may have it, an answer may not."""
CREDENTIAL = "credential-7c1f9e-0123456789abcdef"
"""In tokens and secrets: neither may have it."""
TELLTALES = ["Traceback", "site-packages", "sqlalchemy", "sqlite3", "SELECT", "INSERT", "scm_", ".py", "psycopg"]

CONFIG: dict[str, Any] = {
    "SECRET_KEY": f"key-{CREDENTIAL}",
    "GRPC_AUTH_TOKENS": [CREDENTIAL],
    "GRPC_TOKEN_SECRETS": [f"signing-{CREDENTIAL}"],
    "GRPC_HMAC_SECRETS": [f"hmac-{CREDENTIAL}"],
}
HEADERS = {
    "x-grpc-auth-token": CREDENTIAL,
    "authorization": f"Bearer {CREDENTIAL}",
    "cookie": f"session={CREDENTIAL}",
    "x-signature": CREDENTIAL,
    "x-api-key": CREDENTIAL,
}


def forms(secret: str) -> list[str]:
    """How a text may be hidden in another: as it is, in hex, in base64 at any of three offsets."""
    raw = secret.encode()
    shifted = [base64.b64encode(bytes(shift) + raw)[4:-4].decode() for shift in range(3)]
    return [secret, raw.hex(), *shifted]


def visible(response: Any) -> str:
    """Everything that the client can read, also once it is decoded."""
    body = response.get_data()
    answer = read(response.status_code, response.headers, body)
    texts = [f"{name}: {value}" for name, value in response.headers] + [str(answer.trailers), answer.message]
    texts += [payload.decode("latin-1") for payload in answer.payloads] + [body.decode("latin-1")]
    return "\n".join(texts) + unquote("\n".join(texts))


def check(response: Any, caplog: pytest.LogCaptureFixture, *, code: int | None = None) -> None:
    seen, log = visible(response), caplog.text
    for form in (*forms(INSIDE), *forms(CREDENTIAL), *TELLTALES):
        assert form not in seen
    for form in forms(CREDENTIAL):
        assert form not in log
    if code is not None:
        assert read(response.status_code, response.headers, response.get_data()).code == code


@pytest.fixture(autouse=True)
def _everything_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)


class Untellable(Exception):
    def __str__(self) -> str:
        raise RuntimeError(INSIDE)


def fail_with(error: BaseException) -> Callable[[], None]:
    def fail() -> None:
        raise error

    return fail


def nested() -> None:
    try:
        raise KeyError(INSIDE)
    except KeyError as error:
        raise ValueError(f"{INSIDE} again") from error


def declared_from(code: StatusCode) -> Callable[[], None]:
    def fail() -> None:
        raise RpcError(code, "plain text") from RuntimeError(INSIDE)

    return fail


# Undeclared exceptions, and the HTTP errors whose text Flask may have filled in.
INTERNAL: dict[str, Callable[[], Any]] = {
    "exception": fail_with(RuntimeError(INSIDE)),
    "exception with line breaks": fail_with(RuntimeError(f"\r\n{INSIDE}\r\ngrpc-status: 0\r\n\r\n{INSIDE}")),
    "exception with a cause": nested,
    "exception that has no text": fail_with(Untellable()),
    "missing file": lambda: Path(f"/{INSIDE}/nowhere").read_text(),
    "recursion": fail_with(RecursionError(INSIDE)),
    "memory": fail_with(MemoryError(INSIDE)),
    "assertion": fail_with(AssertionError(INSIDE)),
    "unicode": lambda: (INSIDE.encode() + b"\xff").decode(),
    "SQL": lambda: sa.create_engine("sqlite://").connect().exec_driver_sql(f"SELECT '{INSIDE}' FROM nowhere"),
    "connection URL": lambda: sa.create_engine(
        f"postgresql+psycopg://{INSIDE}:{CREDENTIAL}@127.0.0.1:1/{INSIDE}?connect_timeout=1"
    ).connect(),
    "HTTP 500": fail_with(InternalServerError(INSIDE)),
    "abort(500)": lambda: abort(500, INSIDE),
}
HTTP = {"abort(502)": (502, 14), "abort(503)": (503, 14), "abort(504)": (504, 4), "abort(501)": (501, 12)}


def failing_app(fail: Callable[[], Any], **config: Any) -> Flask:
    def unary(request: EchoRequest, context: Any) -> EchoReply:
        fail()
        return EchoReply()

    def stream(request: EchoRequest, context: Any) -> Iterator[EchoReply]:
        yield from [EchoReply()] * request.count
        fail()

    return echo_app(Unary=unary, ServerStream=stream, **{**CONFIG, **config})


def post(app: Flask, method: str, *, content_type: str = PROTO, count: int = 0, **headers: str) -> Any:
    body = body_of(EchoRequest(count=count), content_type=content_type)
    return app.test_client().post(ECHO + method, data=body, content_type=content_type, headers={**HEADERS, **headers})


@pytest.mark.parametrize("content_type", FOUR_CONTENT_TYPES)
@pytest.mark.parametrize(("method", "count"), [("Unary", 0), ("ServerStream", 0), ("ServerStream", 2)])
@pytest.mark.parametrize("fail", INTERNAL.values(), ids=INTERNAL)
def test_an_exception(
    fail: Callable[[], Any], method: str, count: int, content_type: str, caplog: pytest.LogCaptureFixture
) -> None:
    check(post(failing_app(fail), method, content_type=content_type, count=count), caplog, code=13)


@pytest.mark.parametrize("config", [{"DEBUG": True}, {"TESTING": False}, {"PROPAGATE_EXCEPTIONS": True}])
@pytest.mark.parametrize("count", [0, 2])
def test_an_exception_in_every_mode_of_flask(
    config: dict[str, Any], count: int, caplog: pytest.LogCaptureFixture
) -> None:
    for method in ("Unary", "ServerStream"):
        check(post(failing_app(nested, **config), method, count=count), caplog, code=13)
    assert INSIDE in caplog.text, "the operator does learn what went wrong"


@pytest.mark.parametrize(("http_status", "code"), HTTP.values(), ids=HTTP)
def test_a_server_error_of_the_app(http_status: int, code: int, caplog: pytest.LogCaptureFixture) -> None:
    app = failing_app(lambda: abort(http_status, INSIDE))
    for count in (0, 1):
        check(post(app, "ServerStream", count=count), caplog, code=code)
    hooked = failing_app(lambda: None)
    hooked.before_request(lambda: abort(http_status, INSIDE))
    check(post(hooked, "Unary"), caplog, code=code)


@pytest.mark.parametrize("code", list(StatusCode)[1:])
def test_the_cause_of_a_declared_error(code: StatusCode, caplog: pytest.LogCaptureFixture) -> None:
    for method, count in (("Unary", 0), ("ServerStream", 0), ("ServerStream", 1)):
        check(post(failing_app(declared_from(code)), method, count=count), caplog, code=code)


@pytest.mark.parametrize("place", ["interceptor", "before_request", "after_request", "signal"])
def test_an_exception_around_the_call(place: str, caplog: pytest.LogCaptureFixture) -> None:
    from flask_grpcweb_scm import GrpcWebScm, rpc_started
    from tests.apps import echo_service

    extension = GrpcWebScm(services=[echo_service()])

    def fail(*arguments: Any, **options: Any) -> Any:
        raise RuntimeError(INSIDE)

    if place == "interceptor":
        extension.intercept(fail)
    app = echo_app(extension=extension, **CONFIG)
    app.testing = False  # else Flask hands exceptions of hooks to the test client
    if place.endswith("request"):
        getattr(app, place)(fail)
    if place == "signal":
        rpc_started.connect(fail, app)
    response = post(app, "Unary")
    seen = "\n".join(f"{name}: {value}" for name, value in response.headers) + response.get_data(as_text=True)
    assert not [form for form in (*forms(INSIDE), *forms(CREDENTIAL), *TELLTALES) if form in seen]
    assert CREDENTIAL not in caplog.text


REFUSED: dict[str, tuple[dict[str, str], bytes]] = {
    "wrong token": ({"x-grpc-auth-token": f"{CREDENTIAL}x"}, frame(b"")),
    "wrong bearer": ({"x-grpc-auth-token": "", "authorization": f"Bearer {CREDENTIAL}x"}, frame(b"")),
    "wrong scheme": ({"x-grpc-auth-token": "", "authorization": f"{CREDENTIAL}"}, frame(b"")),
    "damaged signed token": ({"x-grpc-auth-token": f"{CREDENTIAL}.{CREDENTIAL}"}, frame(b"")),
    "credential as content type": ({"content-type": f"text/{CREDENTIAL}"}, frame(b"")),
    "credential as metadata name": ({CREDENTIAL: "x" * 20_000}, frame(b"")),
    "torn body": ({}, b"torn"),
    "no protobuf": ({}, frame(CREDENTIAL.encode())),
    "no compression": ({"grpc-encoding": "identity"}, frame(CREDENTIAL.encode(), 1)),
}  # fmt: skip


@pytest.mark.parametrize(("headers", "body"), REFUSED.values(), ids=REFUSED)
def test_a_refusal_repeats_no_credential_in_the_log(
    headers: dict[str, str], body: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    options = {"content_type": PROTO, "headers": {**HEADERS, **headers}}
    if "content-type" in headers:
        options["content_type"] = headers["content-type"]
    if CREDENTIAL in headers:  # names are logged, and nobody's secret is one
        options["headers"] = {**HEADERS, "x-a": headers[CREDENTIAL]}
    response = echo_app(**CONFIG).test_client().post(ECHO + "Unary", data=body, **options)
    assert response.headers["grpc-status"] != "0"
    assert CREDENTIAL not in caplog.text
    if "content-type" not in headers:  # that one is quoted, to its sender
        assert CREDENTIAL not in visible(response)


# ScmService: what goes wrong in the database and in git.


@pytest.fixture
def scm_app(tmp_path: Path) -> Iterator[Flask]:
    folder = tmp_path / INSIDE
    folder.mkdir()
    config = {key: value for key, value in CONFIG.items() if key != "SECRET_KEY"}
    app = make_app(f"sqlite:///{folder}/scm.db", **config)
    with app.app_context():
        db.create_all()
        add_tenant("ours")
    yield app
    with app.app_context():
        db.engine.dispose()


def break_table(app: Flask, folder: Path) -> None:
    with app.app_context():
        db.session.execute(sa.text("ALTER TABLE scm_repository RENAME TO elsewhere"))
        db.session.commit()


def break_column(app: Flask, folder: Path) -> None:
    with app.app_context():
        db.session.execute(sa.text("UPDATE scm_repository SET date_added = :text"), {"text": INSIDE})
        db.session.commit()


def break_database(app: Flask, folder: Path) -> None:
    with app.app_context():
        db.engine.dispose()
    for file in folder.glob("scm.db*"):
        file.write_bytes(INSIDE.encode() * 1000)


def set_mirror_path(app: Flask, path: Path) -> None:
    with app.app_context():
        row = db.session.scalars(sa.select(Repository)).first()
        assert row is not None
        row.mirror_path = str(path)
        db.session.commit()


def mirror_that_is_gone(app: Flask, folder: Path) -> None:
    set_mirror_path(app, folder / "gone.git")


def mirror_that_is_none(app: Flask, folder: Path) -> None:
    (folder / "none.git").mkdir()
    set_mirror_path(app, folder / "none.git")


def mirror_that_is_damaged(app: Flask, folder: Path) -> None:
    repository = GitRepository(folder / "work")
    repository.write("a.txt", f"{CREDENTIAL}\n")
    repository.commit()
    for file in (folder / "work/.git/objects").rglob("*"):
        if file.is_file():
            file.chmod(0o644)
            file.write_bytes(INSIDE.encode())
    (folder / "work/.git/config").write_text(f'[remote "origin"]\n\turl = https://u:{CREDENTIAL}@h/r\n[{INSIDE}\n')
    set_mirror_path(app, folder / "work/.git")


DAMAGES = [
    break_table, break_column, break_database, mirror_that_is_gone, mirror_that_is_none, mirror_that_is_damaged,
]  # fmt: skip
QUESTIONS = {
    "ListRepositories": '{"organizationId": 1, "query": "ours"}',
    "GetRepository": '{"repositoryId": 1}',
    "GetCommit": '{"repositoryId": 1, "commitSha": "0123456789012345678901234567890123456789"}',
    "GetCommitContext": (
        '{"repositoryId": 1, "commitSha": "0123456789012345678901234567890123456789", "filepath": "a", "lineNumber": 1}'
    ),
    "CreateCodeMapping": '{"organizationId": 1, "projectId": 1, "repositoryId": 1, "stackRoot": "a"}',
    "DeriveCodeMappings": '{"organizationId": 1, "projectId": 1, "stacktracePaths": ["a"]}',
    "FindSuspectCommits": '{"organizationId": 1, "projectId": 1, "stacktrace": "at f (/app/a.txt.js:1:2)"}',
    "CreateExternalIssue": '{"organizationId": 1, "integrationId": 1, "title": "t"}',
    "LinkExternalIssue": '{"groupId": 1, "externalIssueId": 1}',
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_database_or_mirror(
    damage: Callable[[Flask, Path], None], scm_app: Flask, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    damage(scm_app, tmp_path / INSIDE)
    codes = set()
    for method, question in QUESTIONS.items():
        response = scm_app.test_client().post(
            SERVICE + method, data=frame(question.encode()), content_type=JSON, headers=HEADERS
        )
        check(response, caplog)
        assert str(tmp_path) not in visible(response)
        codes.add(read(response.status_code, response.headers, response.get_data()).code)
    assert codes - {0, 5}, "the damage was not noticed by any RPC"


def test_an_integrity_error(scm_app: Flask, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    from flask_grpcweb_scm.scm import service

    def clash(request: Any, context: Any, call_next: Any) -> Any:
        db.session.add(Organization(slug="ours", name=INSIDE))
        db.session.flush()

    # Inside of the transaction.
    monkeypatch.setattr(service.interceptors, "_interceptors", [*service.interceptors.close(), clash])
    response = scm_app.test_client().post(
        SERVICE + "GetRepository", data=frame(b"{}"), content_type=JSON, headers=HEADERS
    )
    check(response, caplog, code=10)


# Trackers


def tracker_answer(status: str, text: str, *headers: str) -> Callable[[Peer], None]:
    return lambda peer: peer.send(http(text.encode(), *headers, status=status, content_type="application/json"))


SENT = base64.b64encode(f"bot:{CREDENTIAL}".encode()).decode()


@pytest.mark.parametrize("provider", ["github", "gitlab", "vsts", "jira", "roundup"])
@pytest.mark.parametrize(
    "script",
    [
        tracker_answer("401 No", json.dumps({"message": f"{CREDENTIAL} and Basic {SENT} are no good"})),
        tracker_answer("422 No", json.dumps({"message": "x", "errors": {"title": f"is {CREDENTIAL}"}})),
        tracker_answer("400 No", json.dumps({"error": {"msg": f"Authorization: Basic {SENT}"}})),
        tracker_answer("500 No", f"<h1>Traceback in /srv/{INSIDE}.py</h1>"),
        tracker_answer("201 Created", f"<h1>{INSIDE} {CREDENTIAL}</h1>"),
        tracker_answer("302 Found", "", f"Location: https://elsewhere.test/{INSIDE}?token={CREDENTIAL}"),
        lambda peer: peer.shut_down(),
        lambda peer: peer.send(f"{INSIDE} {CREDENTIAL}\r\n\r\n".encode()),
    ],
)
def test_what_a_tracker_answers(
    sqlite_databases: SqliteDatabases,
    caplog: pytest.LogCaptureFixture,
    provider: str,
    script: Callable[[Peer], None],
) -> None:
    app = make_app(
        sqlite_databases.create(),
        GRPC_AUTH_TOKENS=[CREDENTIAL],
        GRPC_SCM_CREDENTIALS={"bot": {"user": "bot", "password": CREDENTIAL}},
        GRPC_SCM_ALLOWED_HOSTS="127.0.0.1",
    )
    fields = {"repo": "o/r", "project": "A/B" if provider == "gitlab" else "A", "issuetype": "Bug"}
    with disposed(app), serve(script) as tracker:
        with app.app_context():
            tenant = add_tenant("ours")
            integration = db.session.get_one(Integration, tenant.integration)
            integration.provider = provider
            integration.metadata_ = {"base_url": tracker.url, "credentials": "bot"}
            db.session.commit()
        request = scm_pb2.CreateExternalIssueRequest(
            organization_id=tenant.organization, integration_id=tenant.integration, title="Bug", metadata=fields
        )
        headers = {**HEADERS, "content-type": PROTO}
        for _ in range(2):
            response = app.test_client().post(SERVICE + "CreateExternalIssue", data=body_of(request), headers=headers)
            assert read(response.status_code, response.headers, response.get_data()).code not in {0, 2, 13, 16}
            check(response, caplog)
        assert tracker.requests
        with app.app_context():
            for operation in db.session.scalars(sa.select(IssueOperation)):
                assert CREDENTIAL not in operation.error
                assert INSIDE not in operation.error
