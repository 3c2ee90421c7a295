"""Pages beside the RPCs: health for probes, metrics, descriptors."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from flask import Flask, Response, request

from flask_grpcweb_scm.rpc import CallContext, RpcError, RpcMethod, peer_name
from flask_grpcweb_scm.services import Descriptors, Health, reflection_services
from flask_grpcweb_scm.settings import Settings
from flask_grpcweb_scm.state import AppState
from flask_grpcweb_scm.wire import Metadata
from flask_grpcweb_scm.wire.connect import http_status

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment
    from flask.typing import ResponseReturnValue

__all__ = ["HealthPages", "add_descriptors_page", "add_metrics_page", "add_page", "refuse_reader"]


class HealthPages:
    """A WSGI application around another, for probes by HTTP.

    They are in front of the app because probes name no host that it knows, have no credentials and follow redirects.

    :param path: of readiness, as ``{path}/ready`` is too; ``{path}/live`` is liveness, for which no check is run.
    """

    def __init__(self, health: Health, path: str, inner: WSGIApplication) -> None:
        ready = health.is_serving
        self._pages: dict[str, Callable[[], bool]] = {path: ready, f"{path}/ready": ready, f"{path}/live": lambda: True}
        self._inner = inner

    def wsgi_app(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Respond with 200 or 503 to probes; leave any other request to the application."""
        page = self._pages.get(environ.get("PATH_INFO", ""))
        if page is None or environ["REQUEST_METHOD"] not in {"GET", "HEAD"}:
            return self._inner(environ, start_response)
        status, body = ("200 OK", b"ok\n") if page() else ("503 Service Unavailable", b"not ready\n")
        headers = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))]
        start_response(status, [*headers, ("Cache-Control", "no-store")])
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]


def add_metrics_page(app: Flask, settings: Settings, figures: Callable[[], Mapping[str, tuple[str, float]]]) -> None:
    """Add the page of ``GRPC_METRICS_PATH``.

    :param figures: those of ScmService.
    """
    from flask_grpcweb_scm.observe.prometheus import metrics_page

    def page() -> ResponseReturnValue:
        body, content_type = metrics_page(request.headers.get("accept", ""), figures if settings.scm else dict)
        return Response(body, content_type=content_type)

    add_page(app, settings, settings.metrics_path, "grpcweb_scm_metrics", page)


def add_descriptors_page(app: Flask, state: AppState, descriptors: Descriptors) -> None:
    """Add the page of ``GRPC_DESCRIPTORS_PATH``, for those who may call reflection, whether that is served or not."""

    def page() -> ResponseReturnValue:
        files = descriptors.file_set().SerializeToString()
        return refuse_reader(state) or Response(files, content_type="application/x-protobuf")

    add_page(app, state.settings, state.settings.descriptors_path, "grpcweb_scm_descriptors", page)


def refuse_reader(state: AppState) -> Response | None:
    """Respond to a request for descriptors by a caller who may not call reflection; None for one who may."""
    context = CallContext(_reflection_method(), peer=peer_name(request.remote_addr))
    context.metadata = Metadata.from_headers([(name.lower(), value) for name, value in request.headers])
    try:
        if state.authenticate is not None:
            state.authenticate(context)
    except RpcError as error:
        headers = [("content-type", "text/plain; charset=utf-8"), *context.initial_metadata]
        return Response(f"{error.message}\n", http_status(error.code), headers)
    return None


@functools.cache
def _reflection_method() -> RpcMethod:
    return next(iter(reflection_services(Descriptors())[0].methods().values()))


def add_page(
    app: Flask, settings: Settings, path: str | None, own: str, respond: Callable[[], ResponseReturnValue]
) -> None:
    """Add a rule, at the host of the RPCs, with the endpoint `own`; a rule of the app with the same path wins."""
    assert path is not None
    host, subdomain = settings.host or None, settings.subdomain or None

    def page() -> ResponseReturnValue:
        for rule in app.url_map.iter_rules():
            is_same = (rule.rule, rule.host, rule.subdomain or None) == (path, host, subdomain)
            if is_same and "GET" in (rule.methods or ["GET"]) and rule.endpoint != own:
                # The app's own page, which has come after this extension.
                view = app.ensure_sync(app.view_functions[rule.endpoint])
                return view(**(rule.defaults or {}))  # type: ignore[no-any-return]
        return respond()

    # Not of the blueprint: pages of other origins that may call need not read this.
    app.add_url_rule(path, own, page, host=host, subdomain=subdomain)
