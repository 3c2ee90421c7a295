"""Custom metadata, which the caller and the service function send beside the messages."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Iterator
from typing import ClassVar

__all__ = ["Metadata", "decode_binary", "encode_binary"]

# "Header-Name → 1*( %x30-39 / %x61-7A / "_" / "-" / ".")" (PROTOCOL-HTTP2.md)
_NAME = re.compile(r"[0-9a-z_.-]+", re.ASCII)
_ASCII_VALUE = re.compile(r"[\x20-\x7e]*", re.ASCII)
_NO_ASCII_VALUE = re.compile(r"[^\x20-\x7e]", re.ASCII)
_BASE64 = re.compile(r"[A-Za-z0-9+/]*={0,2}", re.ASCII)
# Set by the HTTP server or by this package; a service function that could set them could forge a status.
_RESERVED = re.compile(
    r"(?:content-|grpc-|connect-|proxy-).*|host|te|trailer|date|server|connection|keep-alive|upgrade|transfer-encoding|set-cookie"
)

MAX_JOINED_VALUES = 1000
"""Of one header of a name in ``-bin``; further ones are left out."""

Value = str | bytes


def encode_binary(value: bytes) -> str:
    """Encode in base64 without padding: "implementations … should emit un-padded values" (PROTOCOL-HTTP2.md)."""
    return base64.b64encode(value).rstrip(b"=").decode("ascii")


def decode_binary(text: str) -> bytes:
    """Decode base64 with or without padding.

    :raises ValueError: for other text.
    """
    if _BASE64.fullmatch(text) is None:
        raise ValueError(f"{text[:40]!r} is not base64")
    try:
        return binascii.a2b_base64(text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4))
    except binascii.Error as error:
        raise ValueError(f"{text[:40]!r} is not base64") from error


class Metadata:
    """Names with one or more values each: ``str``, or ``bytes`` under names that end in ``-bin``.

    Names are case-insensitive and kept in lower case. Iterating gives ``(name, value)`` pairs, in the order of adding.
    """

    def __init__(self, pairs: Iterable[tuple[str, Value]] = ()) -> None:
        self._pairs: list[tuple[str, Value]] = []
        for name, value in pairs:
            self.add(name, value)

    @classmethod
    def from_headers(cls, headers: Iterable[tuple[str, str]]) -> Metadata:
        """Read the custom metadata out of HTTP headers or trailers.

        Reserved names, names that metadata cannot have, and undecodable ``-bin`` values are left out: an unknown
        header must not fail the call. Characters that a value cannot have become ``?``, so that a malformed credential
        is a wrong one, not a missing one.
        """
        metadata = cls()
        for raw_name, raw_value in headers:
            name, value = raw_name.lower(), raw_value.strip()
            if _NAME.fullmatch(name) is None or _RESERVED.fullmatch(name):
                continue
            if name.endswith("-bin"):
                metadata._pairs.extend((name, decoded) for decoded in _decode_joined(value))
            else:
                metadata._pairs.append((name, _NO_ASCII_VALUE.sub("?", value)))
        return metadata

    def add(self, name: str, value: Value) -> None:
        """Add a value, keeping earlier ones of the same name.

        :raises ValueError: for a reserved or malformed name, or a value that a header cannot carry.
        :raises TypeError: for ``bytes`` under a name without ``-bin``, or ``str`` under one with it.
        """
        name = name.lower()
        if _NAME.fullmatch(name) is None:
            raise ValueError(f"metadata name {name!r} may have only the characters 0-9 a-z _ . -")
        if _RESERVED.fullmatch(name):
            raise ValueError(f"metadata name {name!r} is reserved for the protocol; choose another, such as 'x-{name}'")
        if name.endswith("-bin"):
            if not isinstance(value, bytes):
                raise TypeError(f"metadata {name!r} takes bytes, got {type(value).__name__}")
        elif not isinstance(value, str):
            raise TypeError(f"metadata {name!r} takes str, got {type(value).__name__}; for bytes name it '{name}-bin'")
        elif _ASCII_VALUE.fullmatch(value) is None:
            # Never the value: it may be a credential.
            raise ValueError(
                f"metadata {name!r} takes printable ASCII, {_problem(value)}; for other text use '{name}-bin'"
            )
        self._pairs.append((name, value))

    def get(self, name: str, default: Value | None = None) -> Value | None:
        """Return the first value of a name."""
        return next(iter(self.get_all(name)), default)

    def get_text(self, name: str) -> str | None:
        """Return the first value of a name that does not end in ``-bin``."""
        value = self.get(name)
        return value if isinstance(value, str) else None

    def get_all(self, name: str) -> tuple[Value, ...]:
        """Return all values of a name, in order."""
        name = name.lower()
        return tuple(value for key, value in self._pairs if key == name)

    def to_headers(self) -> list[tuple[str, str]]:
        """Return one header per name, values joined by commas: grpc-web JavaScript keeps only a name's last line."""
        values: dict[str, list[str]] = {}
        for name, value in self._pairs:
            values.setdefault(name, []).append(encode_binary(value) if isinstance(value, bytes) else value)
        return [(name, ",".join(texts)) for name, texts in values.items()]

    def __iter__(self) -> Iterator[tuple[str, Value]]:
        return iter(self._pairs)

    def __len__(self) -> int:
        return len(self._pairs)

    def __contains__(self, name: str) -> bool:
        return any(key == name.lower() for key, _ in self._pairs)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Metadata) and self._pairs == other._pairs

    __hash__: ClassVar[None]  # type: ignore[assignment]  # mutable

    def __repr__(self) -> str:
        # Values may be credentials.
        return f"<Metadata {', '.join(dict(self._pairs)) or 'empty'}>"


def _problem(value: str) -> str:
    """Say what keeps a value out of a header, without repeating the value."""
    if value.endswith(("\r", "\n")):
        return "its value ends with a line break, which strip() removes"
    place = next(index for index, char in enumerate(value) if not " " <= char <= "~")
    kind = "a control character" if value[place] < " " or value[place] == "\x7f" else "a character that is not ASCII"
    return f"its value has {kind} at position {place}"


def _decode_joined(value: str) -> Iterator[bytes]:
    for item in value.split(",", MAX_JOINED_VALUES)[:MAX_JOINED_VALUES]:
        try:
            yield decode_binary(item.strip())
        except ValueError:
            continue
