"""What holds for every answer to a gRPC-Web request, whatever was asked (PROTOCOL-WEB.md)."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from urllib.parse import unquote_to_bytes

from tests.grpcweb import Answer, read

__all__ = ["check_answer"]

_STATUS = re.compile(r"[0-9]|1[0-6]", re.ASCII)
_MESSAGE = re.compile(r"(?:[\x20-\x24\x26-\x7e]|%[0-9A-F]{2})*", re.ASCII)
_CONTENT_TYPE = re.compile(r"application/grpc-web(?:-text)?(?:\+proto|\+json)?", re.ASCII)
_TRAILER_LINES = re.compile(r"(?:[0-9a-z_.-]+: [\x20-\x7e]*\r\n)+", re.ASCII)


def check_answer(http_status: int, headers: Iterable[tuple[str, str]], body: bytes) -> Answer:
    """Take an answer apart, sure that it keeps the protocol."""
    headers = list(headers)
    answer = read(http_status, headers, body)
    names = [name.lower() for name, _ in headers]
    assert http_status in {200, 405, 415, 505}
    assert sum(len(name) + len(value) for name, value in headers) < 8192
    assert all(names.count(name) <= 1 for name in names if name.startswith("grpc-"))
    if http_status == 200:
        assert _CONTENT_TYPE.fullmatch(answer.headers["content-type"])
        _check_frames(answer)
    for status in (answer.headers, answer.trailers):
        _check_status(status)
    return answer


def _check_frames(answer: Answer) -> None:
    if answer.trailers:
        lines = _trailer_lines(answer)
        assert _TRAILER_LINES.fullmatch(lines)
        assert lines.count("grpc-status:") == 1
        # The status is in both places on a unary success only.
        assert answer.headers.get("grpc-status", answer.trailers["grpc-status"]) == answer.trailers["grpc-status"]
        assert answer.headers.get("grpc-status", "0") == "0"
    else:
        assert answer.body == b""
        assert answer.headers["grpc-status"] != "0"


def _trailer_lines(answer: Answer) -> str:
    body = answer.body
    if "-text" in answer.headers["content-type"]:
        body = b"".join(base64.b64decode(body[i : i + 4], validate=True) for i in range(0, len(body), 4))
    while body[0] != 0x80:
        assert body[0] in {0x00, 0x01}
        body = body[5 + int.from_bytes(body[1:5], "big") :]
    assert len(body) == 5 + int.from_bytes(body[1:5], "big")
    return body[5:].decode("ascii")


def _check_status(pairs: dict[str, str]) -> None:
    if "grpc-status" not in pairs:
        assert "grpc-message" not in pairs
        return
    assert _STATUS.fullmatch(pairs["grpc-status"])
    assert ("grpc-message" in pairs) == (pairs["grpc-status"] != "0")
    assert _MESSAGE.fullmatch(pairs.get("grpc-message", ""))
    unquote_to_bytes(pairs.get("grpc-message", "")).decode("utf-8")
