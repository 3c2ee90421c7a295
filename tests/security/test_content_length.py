"""A Content-Length that is none: refused on both lanes, with a status, no traceback, and no service function."""

from __future__ import annotations

import io
import logging
from typing import Any

import pytest

from tests.apps import LANES
from tests.grpcweb import PROTO, frame, read
from tests.lanes import lane
from tests.security.support import FULL, MESSAGE, STREAM, UNARY, guarded_app
from tests.tables import check_rows

__all__ = ["lane"]  # every test runs on every lane

BODY = frame(MESSAGE)
TRUE = str(len(BODY))
# value, status; None where the call succeeds.
LENGTHS: list[tuple[str, int]] = [
    *((TRUE, 0), ("0" * 10 + TRUE, 0), ("0" * 5000 + TRUE, 0), (f" {TRUE}", 0), (f"{TRUE}\t", 0)),
    *(("9" * 5000, 8), ("1" + "0" * 18, 8), ("9" * 4301, 8), (str(2**64), 8), (str(2**63), 8)),
    *(("-1", 13), (f"-{TRUE}", 13), (f"+{TRUE}", 13), ("²", 13), ("\u0665", 13), ("1_0", 13), ("0x9", 13), ("9.0", 13)),
    *(("9e3", 13), (f"{TRUE},{TRUE}", 13), (f"{TRUE}, {TRUE}", 13), (f"{TRUE} {TRUE}", 13), (" ", 13), ("\0", 13)),
    *((f"{TRUE}\r\n", 13), (f"{TRUE};", 13), ("nan", 13), ("chunked", 13), ("-" + "9" * 5000, 13), ("x" * 5000, 13)),
    ("9" * 17, 13),  # cut short
    *(("0" * 5000 + "x", 13), ("\t \t", 13), (" " * 5000, 13)),
]


def post(path: str, length: str, token: str = FULL, **environ: Any) -> tuple[int, int, list[str]]:
    ran: list[str] = []
    client = guarded_app(ran, GRPC_MAX_AUTH_FAILURES=None).test_client()
    environ = {"CONTENT_LENGTH": length, "HTTP_X_GRPC_AUTH_TOKEN": token, **environ}
    response = client.post(path, input_stream=io.BytesIO(BODY), content_type=PROTO, environ_overrides=environ)
    answer = read(response.status_code, response.headers, response.data)
    assert sum(len(name) + len(value) for name, value in answer.headers.items()) < 1000
    return answer.http_status, answer.code, ran


@pytest.mark.parametrize("path", [UNARY, STREAM])
def test_it_is_refused(path: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    name = path.rpartition("/")[2]

    def check(length: str, code: int) -> None:
        caplog.clear()
        assert post(path, length) == (200, code, [] if code else [name])
        assert "Traceback" not in caplog.text
        assert "9" * 100 not in caplog.text

    check_rows(check, LENGTHS)


def test_a_stranger_with_one_is_refused_as_any(caplog: pytest.LogCaptureFixture) -> None:
    def check(length: str, code: int) -> None:
        caplog.clear()
        assert post(UNARY, length, "wrong") == (200, 16, [])
        assert "Traceback" not in caplog.text

    check_rows(check, LENGTHS)


@pytest.mark.parametrize("content_type", ["text/plain", "application/grpc+thrift"])
def test_so_is_what_is_no_call(content_type: str, caplog: pytest.LogCaptureFixture) -> None:
    client = guarded_app([]).test_client()

    def check(length: str, code: int) -> None:
        caplog.clear()
        response = client.post(
            UNARY,
            input_stream=io.BytesIO(BODY),
            content_type=content_type,
            environ_overrides={"CONTENT_LENGTH": length},
        )
        assert response.status_code == 415
        assert "Traceback" not in caplog.text

    check_rows(check, LENGTHS)


@pytest.mark.parametrize("length", [TRUE, "-1", "9" * 5000, "²"])
def test_a_chunked_body_has_none(length: str) -> None:
    chunked = {"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True}
    assert post(UNARY, length, **chunked) == (200, 0, ["Unary"])


def test_the_lanes_are_all_there() -> None:
    assert len(LANES) == 3
