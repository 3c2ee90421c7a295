"""The media types of gRPC-Web and gRPC."""

from __future__ import annotations

import functools
from dataclasses import dataclass

from flask_grpcweb_scm.wire.headers import cached_by_headers

__all__ = [
    "CONTENT_TYPES",
    "GRPC_TYPES",
    "ContentType",
    "parse_content_type",
    "parse_grpc_type",
    "response_content_type",
]

_BINARY = "application/grpc-web"
_TEXT = "application/grpc-web-text"


@dataclass(frozen=True)
class ContentType:
    """A gRPC-Web media type in its parts."""

    text: bool
    """True for a body in base64."""
    suffix: str
    """``""``, ``"+proto"`` or ``"+json"``."""

    @functools.cached_property
    def codec(self) -> str:
        """``"proto"`` or ``"json"``; the bare media type means proto."""
        return self.suffix[1:] or "proto"

    @functools.cached_property
    def name(self) -> str:
        """The media type, as in the header."""
        return (_TEXT if self.text else _BINARY) + self.suffix

    def __str__(self) -> str:
        return self.name


CONTENT_TYPES = {
    str(content_type): content_type
    for text in (False, True)
    for suffix in ("", "+proto", "+json")
    for content_type in [ContentType(text, suffix)]
}
"""Every accepted media type, by name."""


GRPC_TYPES = {"application/grpc": "proto", "application/grpc+proto": "proto", "application/grpc+json": "json"}
"""Every accepted media type of gRPC, and its codec."""


@cached_by_headers
def parse_content_type(value: str | None) -> ContentType | None:
    """Look up a ``Content-Type`` header; case and parameters do not matter; None when it is not gRPC-Web."""
    return CONTENT_TYPES.get(_media_type(value or ""))


@cached_by_headers
def parse_grpc_type(value: str | None) -> str | None:
    """Look up the media type of gRPC in a ``Content-Type`` header; None when there is none."""
    name = _media_type(value or "")
    return name if name in GRPC_TYPES else None


def response_content_type(request: ContentType, accept: str | None) -> ContentType:
    """Choose text or binary by ``Accept``; when it names neither, as in the request."""
    return request if accept is None or accept == request.name else _accepted(request, accept)


def _accepted(request: ContentType, accept: str) -> ContentType:
    media_types = map(_media_type, accept.split(","))
    accepted = [CONTENT_TYPES[name] for name in media_types if name in CONTENT_TYPES]
    if not accepted:
        return request
    text = any(content_type.text for content_type in accepted)
    return CONTENT_TYPES[(_TEXT if text else _BINARY) + request.suffix]


def _media_type(value: str) -> str:
    return value.partition(";")[0].strip().lower()
