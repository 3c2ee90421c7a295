"""Text mode over real sockets: base64 in pieces, cut anywhere (PROTOCOL-WEB.md, "Message framing")."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import pytest

from tests.echo_pb2 import EchoReply
from tests.grpcweb import FOUR_CONTENT_TYPES, JSON, PROTO, TEXT, TEXT_PROTO, Answer, frame
from tests.sockets.contract import check_answer
from tests.sockets.http1 import chunked
from tests.sockets.rows import HELLO, STREAM, message, rpc
from tests.sockets.servers import Server, any_server

TEXT_JSON = "application/grpc-web-text+json"
TEXT_TYPES = [TEXT, TEXT_PROTO, TEXT_JSON]
CHUNKS = [("Transfer-Encoding", "chunked")]
WHOLE = base64.b64encode(HELLO)


def pieces(data: bytes, *sizes: int) -> bytes:
    """Base64 in separately padded pieces of so many bytes; the last size holds for the rest."""
    encoded = b""
    while data:
        size, *rest = sizes
        encoded, data, sizes = encoded + base64.b64encode(data[:size]), data[size:], tuple(rest) or sizes
    return encoded


def answer_to(server: Server, sent: bytes, *, step: int = 0) -> Answer:
    with server.connect() as connection:
        connection.send(sent, step=step)
        response = connection.response()
    return check_answer(response.status, response.headers, response.body)


BODIES = {
    "whole": WHOLE,
    "one-byte-pieces": pieces(HELLO, 1),
    "two-byte-pieces": pieces(HELLO, 2),
    "three-byte-pieces": pieces(HELLO, 3),
    "prefix-and-payload": pieces(HELLO, 5, 100),
    "padding-in-the-prefix": pieces(HELLO, 1, 1, 2, 100),
    "four-and-rest": pieces(HELLO, 4, 100),
    "all-sizes": pieces(HELLO, 1, 2, 3, 4, 1),
}


@any_server
@pytest.mark.parametrize("step", [0, 1, 3, 5])
@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_separately_padded_pieces_arrive_in_any_steps(server: Server, body: bytes, step: int) -> None:
    answer = answer_to(server, rpc(body, content_type=TEXT_PROTO), step=step)
    assert answer.only(EchoReply).text == "HELLO"
    assert answer.headers["content-type"] == TEXT_PROTO


def test_pieces_arrive_slowly(server: Server) -> None:
    answer = answer_to(server, rpc(BODIES["all-sizes"], content_type=TEXT), step=1)
    assert answer.only(EchoReply).text == "HELLO"


@pytest.mark.parametrize("body", [WHOLE, pieces(HELLO, 1, 2, 3)], ids=["whole", "pieces"])
def test_the_text_may_be_cut_anywhere(server: Server, body: bytes) -> None:
    for cut in range(1, len(body)):
        two = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:cut], body[cut:], b""))
        answer = answer_to(server, rpc(two, CHUNKS, content_type=TEXT, length=None))
        assert answer.only(EchoReply).text == "HELLO", cut


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_the_text_may_come_in_odd_chunks(server: Server, size: int) -> None:
    sent = rpc(chunked(pieces(HELLO, 2), size), CHUNKS, content_type=TEXT, length=None)
    assert answer_to(server, sent, step=7).only(EchoReply).text == "HELLO"


@pytest.mark.parametrize("content_type", TEXT_TYPES)
def test_every_flushed_piece_of_a_stream_decodes_by_itself(server: Server, content_type: str) -> None:
    payload = b'{"text": "hello", "count": 4}' if content_type == TEXT_JSON else message(count=4)
    with server.connect() as connection:
        connection.send(rpc(base64.b64encode(frame(payload)), content_type=content_type, target=STREAM))
        response = connection.response()
    answer = check_answer(response.status, response.headers, response.body)
    assert [reply.number for reply in answer.messages(EchoReply)] == [0, 1, 2, 3]
    # Servers may join pieces, but not cut them.
    for chunk in response.chunks:
        assert len(chunk) % 4 == 0
        assert list(frames(chunk))


def frames(chunk: bytes) -> Iterator[bytes]:
    data = b"".join(base64.b64decode(chunk[i : i + 4], validate=True) for i in range(0, len(chunk), 4))
    while data:
        end = 5 + int.from_bytes(data[1:5], "big")
        assert len(data) >= end
        yield data[5:end]
        data = data[end:]


@any_server
@pytest.mark.parametrize("accept", [None, "*/*", PROTO, TEXT, "application/grpc-web", f"{TEXT}, */*;q=0.1"])
@pytest.mark.parametrize("content_type", [*FOUR_CONTENT_TYPES, "application/grpc-web"])
def test_the_answer_is_text_or_binary_as_accept_asks(server: Server, content_type: str, accept: str | None) -> None:
    payload = frame(b'{"text": "hello"}') if content_type == JSON else HELLO
    body = base64.b64encode(payload) if "-text" in content_type else payload
    answer = answer_to(server, rpc(body, {"Accept": accept} if accept else {}, content_type=content_type))
    wants_text = "-text" in (accept if accept and "grpc-web" in accept else content_type)
    assert ("-text" in answer.headers["content-type"]) == wants_text
    assert answer.headers["content-type"].partition("+")[2] == content_type.partition("+")[2]
    assert answer.only(EchoReply).text == "HELLO"


INVALID = {
    "one-character": b"A",
    "two-characters": WHOLE + b"AA",
    "three-characters": WHOLE + b"AAA",
    "unpadded": base64.b64encode(HELLO[:-1]).rstrip(b"="),
    "padding-alone": WHOLE + b"====",
    "too-much-padding": b"A===",
    "padding-first": b"=AAA",
    "padding-in-the-middle": b"A=AA",
    "padding-before-a-letter": b"AA=A",
    "line-break": WHOLE[:4] + b"\r\n" + WHOLE[4:] + b"AA",
    "spaces": WHOLE.replace(b"A", b" "),
    "line-break-at-the-end": WHOLE + b"\n",
    "url-safe-minus": b"--__" + WHOLE,
    "url-safe-at-the-end": WHOLE + b"-___",
    "not-ascii": b"\xe9" * 4 + WHOLE,
    "nul": b"\0\0\0\0",
    "full-width": "\uff21\uff21\uff21\uff21".encode(),
    "quoted": b'"' + WHOLE + b'"',
}


@any_server
@pytest.mark.parametrize("step", [0, 1])
@pytest.mark.parametrize("body", INVALID.values(), ids=INVALID)
def test_invalid_text_is_refused(server: Server, body: bytes, step: int) -> None:
    answer = answer_to(server, rpc(body, content_type=TEXT), step=step)
    assert answer.code == 13
    assert "base64" in answer.message


@any_server
def test_a_cut_frame_in_valid_text_is_refused(server: Server) -> None:
    answer = answer_to(server, rpc(base64.b64encode(HELLO[:-2]), content_type=TEXT))
    assert (answer.code, answer.message) == (13, f"the body ends inside a frame, after {len(HELLO) - 2} of its bytes")
