"""Far more callers than threads, half of them for streams: the other calls are served, within their deadlines."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from google.rpc.error_details_pb2 import RetryInfo

from tests.grpcweb import Answer, frame
from tests.servers import gunicorn
from tests.sockets.contract import check_answer
from tests.sockets.http1 import Connection
from tests.sockets.rows import STREAM, UNARY, message, rpc

pytestmark = pytest.mark.needs("server")

CALLERS, THREADS, TOTAL = 200, 16, 8
LONG_STREAM = rpc(frame(message("nap 50", count=20)), target=STREAM)
SHORT_CALL = rpc(frame(message("nap 5")), {"grpc-timeout": "15S"}, target=UNARY)


def answer_of(port: int, data: bytes) -> Answer:
    with Connection(port) as connection:
        connection.send(data)
        response = connection.response()
    return check_answer(response.status, response.headers, response.body)


def test_streams_leave_threads_to_other_calls(tmp_path: Path) -> None:
    environ = {"FLASK_GRPC_MAX_STREAMS": "null", "FLASK_GRPC_MAX_STREAMS_TOTAL": str(TOTAL), "FAST_LANE": "1"}
    options = ["--worker-class", "gthread", "--threads", str(THREADS)]
    with (
        gunicorn("tests.sockets.app:create_app", tmp_path / "log", *options, environ=environ) as port,
        ThreadPoolExecutor(CALLERS) as pool,
    ):
        streams = [pool.submit(answer_of, port, LONG_STREAM) for _ in range(CALLERS // 2)]
        calls = [pool.submit(answer_of, port, SHORT_CALL) for _ in range(CALLERS // 2)]
        assert Counter(call.result().code for call in calls) == {0: CALLERS // 2}
        answers = [stream.result() for stream in streams]
    codes = Counter(answer.code for answer in answers)
    assert codes.keys() == {0, 8}
    assert codes[0] >= TOTAL
    for refused in (answer for answer in answers if answer.code == 8):
        assert [detail.retry_delay.seconds for detail in refused.details(RetryInfo)] == [1]
