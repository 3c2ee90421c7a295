"""The trailers frame: the status and the trailing metadata, last in every response body."""

from __future__ import annotations

from collections.abc import Iterable

from flask_grpcweb_scm.wire.errors import RemoteProtocolError
from flask_grpcweb_scm.wire.frames import TRAILERS, encode_frame

__all__ = ["encode_trailers", "parse_trailers"]


def encode_trailers(pairs: Iterable[tuple[str, str]]) -> bytes:
    """Frame ``(name, value)`` pairs as trailers.

    "use lower-case header/trailer names", each line closed by CRLF and no blank line after them (PROTOCOL-WEB.md).
    """
    lines = "".join(f"{name.lower()}: {value}\r\n" for name, value in pairs)
    return encode_frame(lines.encode("ascii"), flags=TRAILERS)


def parse_trailers(payload: bytes) -> list[tuple[str, str]]:
    """Read the payload of a trailers frame into ``(name, value)`` pairs, names in lower case.

    :raises RemoteProtocolError: for a line without a colon.
    """
    pairs = []
    for line in payload.decode("latin-1").split("\r\n"):
        if not line:
            continue
        name, colon, value = line.partition(":")
        if not colon:
            raise RemoteProtocolError(f"malformed trailer line {line[:40]!r}")
        pairs.append((name.strip().lower(), value.strip()))
    return pairs
