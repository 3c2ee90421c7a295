"""Cross-origin calls, by Flask-CORS."""

from __future__ import annotations

from flask import Blueprint, Response

from flask_grpcweb_scm.settings import ConfigError, Settings

__all__ = ["add_cors", "expose_headers"]

Pairs = list[tuple[str, str]]

_ALLOW = "access-control-allow-origin"
_EXPOSE = "access-control-expose-headers"
_OWN_HEADERS = ("grpc-status", "grpc-message", "grpc-status-details-bin", "grpc-encoding")
_NOT_FOR_PAGES = {"vary", "x-accel-buffering", "set-cookie", "connection"}
_ALWAYS_READABLE = {
    "cache-control", "content-language", "content-length", "content-type", "expires", "last-modified", "pragma",
}  # fmt: skip


def add_cors(blueprint: Blueprint, settings: Settings) -> None:
    """Let the pages of ``GRPC_CORS_ORIGINS`` call the blueprint and read every header of its responses.

    :raises ConfigError: when Flask-CORS is not installed.
    """
    try:
        from flask_cors import CORS
    except ImportError:
        raise ConfigError("GRPC_CORS_ORIGINS needs Flask-CORS: pip install 'flask_grpcweb_scm[cors]'") from None
    blueprint.after_request(_vary)
    CORS(
        blueprint,
        origins=list(settings.cors_origins),
        methods=["GET", "HEAD", "POST"] if "connect" in settings.protocols else ["POST"],
        supports_credentials=settings.cors_credentials,
        max_age=int(settings.cors_max_age),
    )


def _vary(response: Response) -> Response:
    # Also of responses to requests without an origin: a cache may keep them.
    response.vary.add("Origin")
    return response


def expose_headers(headers: Pairs) -> Pairs:
    """The headers of a response, all of which a page may read if it may read the response."""
    given = {name.lower(): value for name, value in headers}
    if _ALLOW not in given:
        return headers
    names = {name for name in given if not name.startswith("access-control-")} - _ALWAYS_READABLE - _NOT_FOR_PAGES
    exposed = given.pop(_EXPOSE, "").lower().replace(",", " ").split()
    value = ", ".join(sorted(names.union(exposed, _OWN_HEADERS)))
    return [*(pair for pair in headers if pair[0].lower() != _EXPOSE), ("Access-Control-Expose-Headers", value)]
