"""What a hostile body may cost in memory: the message limit and a little, not what the body claims or inflates to."""

from __future__ import annotations

import base64
import sys
from collections.abc import Iterator

import pytest

from tests.grpcweb import BOMB, TEXT, frame
from tests.servers import running
from tests.sockets.app import MAX_MESSAGE_BYTES
from tests.sockets.hostile_connect import PROTO, envelopes, post
from tests.sockets.hostile_messages import AT_LIMIT
from tests.sockets.http1 import chunked
from tests.sockets.rows import Sent, message, rpc
from tests.sockets.servers import SERVERS, Server, require
from tests.sockets.test_hostile import answer_of

MEBIBYTE = 2**20
SLACK = 4 * MEBIBYTE
CHUNKS = [("Transfer-Encoding", "chunked")]
GZIP = {"grpc-encoding": "gzip"}
LARGE = frame(bytes(15 * MEBIBYTE))
FULL = frame(message("x" * (MAX_MESSAGE_BYTES - 5)))


# glibc keeps freed memory for later; a process that has had a peak would show no further one.
GIVE_BACK = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}


@pytest.fixture(scope="module", params=SERVERS)
def forgetful(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    name, environ = request.param
    require(name)
    log = tmp_path_factory.mktemp("memory") / "log"
    with running(name, "tests.sockets.app:create_app", log, {**environ, **GIVE_BACK}) as port:
        server = Server(name, port, log, environ)
        server.get("/debug/closed")
        yield server


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        pytest.param(rpc(b"\0\xff\xff\xff\xff"), 8, id="4-gib-prefix"),
        pytest.param(rpc(b"\0\xff\xff\xff\xff" + bytes(15 * MEBIBYTE)), 8, id="4-gib-prefix-and-15-mib"),
        pytest.param(rpc(frame(BOMB, 1), GZIP), 8, id="16-mib-gzip-bomb"),
        pytest.param(rpc(LARGE), 8, id="15-mib-message"),
        pytest.param(rpc(chunked(LARGE, 65536), CHUNKS, length=None), 8, id="15-mib-message-in-chunks"),
        pytest.param(rpc(base64.b64encode(LARGE[: 12 * MEBIBYTE]), content_type=TEXT), 8, id="16-mib-text"),
        pytest.param(rpc(b"\x55" * 16 * MEBIBYTE), 13, id="16-mib-of-garbage"),
        pytest.param(rpc(bytes(15 * MEBIBYTE)), 12, id="3-million-empty-messages"),
        pytest.param(rpc(frame(b"") + FULL), 12, id="a-second-message-at-the-limit"),
        pytest.param(rpc(FULL), 0, id="a-message-at-the-limit"),
        pytest.param(rpc(LARGE, target="/no.Such/Method"), 12, id="unknown-method"),
        pytest.param(rpc(LARGE, content_type="text/plain"), 12, id="415"),
        pytest.param(post(LARGE, content_type=PROTO), 8, id="connect-15-mib-message"),
        pytest.param(post(chunked(LARGE, 65536), CHUNKS, length=None), 8, id="connect-15-mib-message-in-chunks"),
        pytest.param(post(BOMB, {"content-encoding": "gzip"}), 8, id="connect-16-mib-gzip-bomb"),
        pytest.param(post(AT_LIMIT, content_type=PROTO), 0, id="connect-message-at-the-limit"),
        pytest.param(post(b"[" * MAX_MESSAGE_BYTES), 3, id="connect-json-deep"),
        pytest.param(envelopes(frame(BOMB, 1), {"connect-content-encoding": "gzip"}), 8, id="connect-stream-bomb"),
        pytest.param(envelopes(bytes(15 * MEBIBYTE)), 12, id="connect-3-million-empty-messages"),
    ],
)
def test_memory_stays_near_the_limit(
    forgetful: Server,
    sent: bytes | Sent,
    code: int,
    capsys: pytest.CaptureFixture[str],
    request: pytest.FixtureRequest,
) -> None:
    sent = sent if isinstance(sent, Sent) else Sent(sent)
    before = int(forgetful.get("/debug/peak", verb="POST"))
    with forgetful.connect() as connection:
        connection.send(sent.data)
        response = connection.response()
    assert answer_of(response, sent).code == code
    growth = int(forgetful.get("/debug/peak")) - before
    with capsys.disabled():
        sys.stdout.write(f"\n{request.node.name}: {growth / MEBIBYTE:.1f} MiB\n")
    # A message that is accepted is there as it arrived, as a payload and decoded; JSON as bytes and as a text.
    assert growth < MAX_MESSAGE_BYTES * {0: 3, 3: 2}.get(code, 1) + SLACK
