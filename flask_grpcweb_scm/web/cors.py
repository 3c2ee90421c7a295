"""Cross-origin calls, by Flask-CORS."""

from __future__ import annotations

from flask import Blueprint, Response

from flask_grpcweb_scm.settings import ConfigError, Settings

__all__ = ["add_cors"]

_OWN_HEADERS = ("grpc-status", "grpc-message", "grpc-status-details-bin", "grpc-encoding")
_NOT_FOR_PAGES = {"vary", "x-accel-buffering"}
_ALWAYS_READABLE = {
    "cache-control", "content-language", "content-length", "content-type", "expires", "last-modified", "pragma",
}  # fmt: skip


def add_cors(blueprint: Blueprint, settings: Settings) -> None:
    """Let the pages of ``GRPC_CORS_ORIGINS`` call the blueprint and read every header of its answers.

    :raises ConfigError: when Flask-CORS is not installed.
    """
    try:
        from flask_cors import CORS
    except ImportError:
        raise ConfigError("GRPC_CORS_ORIGINS needs Flask-CORS: pip install 'flask_grpcweb_scm[cors]'") from None
    # Before CORS, because Flask runs these in reverse order.
    blueprint.after_request(_expose_all)
    CORS(
        blueprint,
        origins=list(settings.cors_origins),
        methods=["POST"],
        supports_credentials=settings.cors_credentials,
        max_age=int(settings.cors_max_age),
    )


def _expose_all(response: Response) -> Response:
    response.vary.add("Origin")
    if "access-control-allow-origin" in response.headers:
        names = {name.lower() for name, _ in response.headers}
        custom = {name for name in names if not name.startswith("access-control-")} - _ALWAYS_READABLE - _NOT_FOR_PAGES
        response.headers["access-control-expose-headers"] = ", ".join(sorted(custom.union(_OWN_HEADERS)))
    return response
