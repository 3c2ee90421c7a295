"""Nobody writes the log but us: what comes from outside is in it without line breaks and terminal codes."""

from __future__ import annotations

import logging
import re
from typing import Any

import pytest
from flask import abort
from werkzeug.middleware.proxy_fix import ProxyFix

from tests.apps import ECHO, echo_app
from tests.grpcweb import PROTO, frame

FORGED = "127.0.0.1\r\n2026-01-01 INFO flask_grpcweb_scm: \x1b[2K\x1b]0;owned\x07\x85\u2028admin\x00 OK"
RAW = FORGED.encode().decode("latin-1")  # as WSGI hands over bytes that are not ASCII
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def post(path: str = ECHO + "Unary", *, environ: dict[str, str] | None = None, **config: Any) -> None:
    client = echo_app(**config).test_client()
    options: dict[str, Any] = {"content_type": PROTO, "environ_overrides": environ or {}}
    client.post(path, data=frame(b""), **options).close()


@pytest.mark.parametrize(
    "environ",
    [
        {"REMOTE_ADDR": RAW},
        {"REMOTE_ADDR": "a" * 100_000},
        {"REMOTE_ADDR": RAW, "HTTP_X_GRPC_AUTH_TOKEN": "wrong"},
        {"REMOTE_ADDR": RAW, "HTTP_ORIGIN": RAW},
        {"REMOTE_ADDR": RAW, "PATH_INFO": ECHO + "Missspelt"},
        {"HTTP_USER_AGENT": RAW},
        {"HTTP_REFERER": RAW, "HTTP_HOST": "a.example", "HTTP_X_FORWARDED_FOR": RAW},
        {"HTTP_X_GRPC_AUTH_TOKEN": RAW},
        {"HTTP_AUTHORIZATION": f"Bearer {RAW}"},
        {"HTTP_X_SIGNATURE": RAW, "HTTP_X_METHOD": RAW, "HTTP_X_TIMESTAMP": RAW, "HTTP_X_BODY": RAW},
        {"HTTP_X_CUSTOM": RAW, "HTTP_X_CUSTOM_BIN": RAW},
        {f"HTTP_{RAW}": "a"},
        {"HTTP_GRPC_TIMEOUT": RAW},
        {"HTTP_GRPC_ENCODING": RAW},
        {"HTTP_GRPC_ACCEPT_ENCODING": RAW},
        {"HTTP_ACCEPT": RAW},
        {"CONTENT_TYPE": f"{PROTO}; a={RAW}"},
        {"CONTENT_TYPE": RAW},
        {"CONTENT_LENGTH": RAW},
        {"REQUEST_METHOD": "PO\x1b[2KST"},
        {"QUERY_STRING": RAW},
        {"PATH_INFO": ECHO + RAW},
        {"PATH_INFO": ECHO + "Unary\r\nOK"},
        {"PATH_INFO": f"/a\x1b[2K.{RAW}/Unary"},
    ],
    ids=repr,
)
def test_what_comes_from_outside_is_logged_without_control_characters(
    environ: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    cors = {"GRPC_CORS_ORIGINS": "https://app.example", "GRPC_CORS_CREDENTIALS": True}
    configs: list[dict[str, Any]] = [{}, cors, {"GRPC_AUTH_TOKENS": "t", "GRPC_HMAC_SECRETS": "s", **cors}]
    for config in configs:
        post(environ=environ, **config)
    ours = [record for record in caplog.records if record.name.startswith("flask_grpcweb_scm")]
    for record in ours:
        assert CONTROL.search(record.getMessage()) is None, record
        assert len(record.getMessage()) < 2000


def test_a_proxy_passes_on_what_its_client_claims(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "flask_grpcweb_scm")
    app = echo_app()
    app.wsgi_app = ProxyFix(app.wsgi_app)  # type: ignore[method-assign]
    for claimed in ("10.0.0.1", "2001:db8::1%eth0", f"\x1b[31m{'9' * 300}"):
        app.test_client().post(
            ECHO + "Unary",
            data=frame(b""),
            content_type=PROTO,
            environ_overrides={"HTTP_X_FORWARDED_FOR": claimed},
        )
    peers = [re.search(r"peer (\S*),", record.getMessage()) for record in caplog.records]
    assert [match and match[1][:20] for match in peers] == ["10.0.0.1", "2001:db8::1%eth0", "??31m999999999999999"]


def test_a_refusal_of_the_app_is_logged_in_one_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "flask_grpcweb_scm")
    app = echo_app()
    app.before_request(lambda: abort(403))
    app.test_client().post(ECHO + "Unär\u0662", data=frame(b""), content_type=PROTO)
    (record,) = caplog.records
    line = record.getMessage()
    assert line.startswith(f"'{ECHO}Unär\u0662' PERMISSION_DENIED ")
    assert line.endswith(", caller 'anonymous', HTTP 403 of the app")
