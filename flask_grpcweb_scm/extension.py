"""The Flask extension."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, TypeVar, overload

from flask import Blueprint, Flask

from flask_grpcweb_scm.access import authentication, shared_counts, stream_limiter
from flask_grpcweb_scm.auth import Counts, TenantLimiter
from flask_grpcweb_scm.cli import LateGroup, config_errors_in_commands, grpc_cli
from flask_grpcweb_scm.config_values import read_host
from flask_grpcweb_scm.configuration import ConfigError, check_settings, read_settings, warn
from flask_grpcweb_scm.observe import Observer
from flask_grpcweb_scm.rpc import (
    Authenticate,
    Dispatcher,
    Interceptor,
    Interceptors,
    Service,
    ServiceDefinitionError,
    did_you_mean,
    is_async,
)
from flask_grpcweb_scm.services import (
    Check,
    Checks,
    Descriptors,
    Health,
    health_service,
    read_sets,
    reflection_services,
)
from flask_grpcweb_scm.settings import Settings
from flask_grpcweb_scm.state import AppState
from flask_grpcweb_scm.web.app_calls import AppCalls
from flask_grpcweb_scm.web.blueprint import create_blueprint
from flask_grpcweb_scm.web.fast_lane import FastLane
from flask_grpcweb_scm.web.pages import HealthPages, add_descriptors_page, add_metrics_page
from flask_grpcweb_scm.web.trailers import TrailersApp
from flask_grpcweb_scm.web.webhooks import WebhookPages
from flask_grpcweb_scm.web.wsgi import RpcApp

if TYPE_CHECKING:
    from flask_sqlalchemy import SQLAlchemy
    from google.protobuf.descriptor_pb2 import FileDescriptorSet

    from flask_grpcweb_scm.observe.prometheus import Metrics

__all__ = ["AppState", "GrpcWebScm"]

SCM_SERVICE = "sentry.integrations.scm.v1.ScmService"

C = TypeVar("C", bound=Callable[[], object])
I = TypeVar("I", bound=Interceptor)  # noqa: E741  # reads as "interceptor"


class GrpcWebScm:
    """Serves proto services from a Flask app over gRPC-Web.

    :param app: calls :meth:`init_app` at once when given.
    :param services: beside ScmService, which ``GRPC_SCM = False`` leaves out.
    :param authenticate: takes a :class:`CallContext`, and returns the Identity of the caller or raises RpcError
        UNAUTHENTICATED; it replaces tokens and signatures.
    :param db: the app's own Flask-SQLAlchemy instance, to initialise when the app has not done so itself.

    One extension can serve several apps; what belongs to an app is in ``app.extensions["grpcweb_scm"]``.
    """

    def __init__(
        self,
        app: Flask | None = None,
        *,
        services: Iterable[Service] = (),
        authenticate: Authenticate | None = None,
        db: SQLAlchemy | None = None,
    ) -> None:
        self._services = tuple(services)
        self._authenticate = authenticate
        self._db = db
        self._interceptors = Interceptors("this extension")
        self._checks = Checks()
        if app is not None:
            self.init_app(app)

    def intercept(self, interceptor: I) -> I:
        """Decorate ``(request, context, call_next)``, to run around every call; it is returned unchanged.

        The first one added is the outermost. Requests and responses of streaming methods are iterators.

        :raises AssertionError: when the extension has already served its first call.
        """
        self._interceptors.add(interceptor)
        return interceptor

    @overload
    def health_check(self, check: C, /) -> C: ...

    @overload
    def health_check(self, /, *, service: str) -> Callable[[C], C]: ...

    def health_check(self, check: C | None = None, /, *, service: str = "") -> C | Callable[[C], C]:
        """Decorate a function that health depends on: ``@grpc.health_check``; it is returned unchanged.

        It passes when it returns None or a true value, and has 0.8 seconds for it, in a thread and an application
        context of its own. Its result is kept for a second.

        :param service: full name of the only one that needs it, as in ``@grpc.health_check(service="pkg.Service")``.
        :raises ServiceDefinitionError: when there is no such service, or the function is async.
        """
        known = {SCM_SERVICE, *(each.name for each in self._services)}
        if service and service not in known:
            raise ServiceDefinitionError(
                f"health_check: no service {service!r} is served{did_you_mean(service, known)}"
            )

        def decorate(function: C) -> C:
            if is_async(function):
                raise ServiceDefinitionError(f"the health check {function!r} is async; make it a plain function")
            self._checks.added.append(Check(function, service, getattr(function, "__name__", repr(function))))
            return function

        return decorate if check is None else decorate(check)

    def drain(self) -> None:
        """Say from now on, in this process, that calls should go to other servers; calls are served as before.

        A signal handler may call it. For all processes together there is ``GRPC_DRAIN_FILE``.
        """
        self._checks.is_draining = True

    def init_app(self, app: Flask) -> None:
        """Serve the services from `app`: read its ``GRPC_*`` keys once, check everything, register routes and commands.

        :raises ConfigError: for a configuration that cannot work.
        :raises ServiceDefinitionError: for a service that is not bound completely.
        :raises RuntimeError: when the app has this extension already.
        """
        if "grpcweb_scm" in app.extensions:
            raise RuntimeError("this app has a GrpcWebScm already; give all services to one")
        with config_errors_in_commands():
            self._init_app(app)

    def _init_app(self, app: Flask) -> None:
        settings = read_settings(app.config, has_authenticator=self._authenticate is not None)
        services = [*self._services, *([_scm_service()] if settings.scm else [])]
        counts = shared_counts(settings)
        health = Health(app, self._checks, _own_checks(settings, counts), settings.drain_file)
        if settings.health:
            services.append(health_service(health, watch=settings.health == "watch"))
        reflects = app.debug if settings.reflection is None else settings.reflection
        descriptors = Descriptors(_descriptor_sets(settings))
        if reflects:
            services += reflection_services(descriptors)
        observers: list[Observer] = [_tracing()] if settings.otel else []
        metrics = _metrics() if settings.metrics_path else None
        if metrics:
            observers.append(metrics)
        first: list[Interceptor] = [metrics.count_messages] if metrics else []
        if settings.max_calls is not None:
            first.append(TenantLimiter(settings.max_calls))
        dispatcher = Dispatcher(
            services,
            self._interceptors,
            first=first,
            max_json_depth=settings.max_json_depth,
            max_items=settings.max_items,
            ensure_sync=app.ensure_sync,
        )
        health.services = dispatcher.services
        descriptors.services = [*dispatcher.services.values()]
        check_settings(
            settings, dispatcher.methods, dispatcher.guarded, has_authenticator=self._authenticate is not None
        )
        _warn_if_open(app, settings)
        _warn_of_greenlets(dispatcher)
        authenticate = authentication(settings, self._authenticate, counts)
        findings = _webhook_findings if settings.scm and settings.scm_webhooks else tuple
        state = AppState(settings, dispatcher, authenticate, _host(app, settings), _scheme(app), findings)
        app.extensions["grpcweb_scm"] = state
        limit_streams = stream_limiter(settings, counts)
        calls = AppCalls(app, settings, dispatcher, state.authenticate, limit_streams, observers)
        blueprint = create_blueprint(calls)
        app.register_blueprint(blueprint)
        _surround(calls, blueprint, state.host)
        if settings.metrics_path:
            add_metrics_page(app, settings, _figures)
        if settings.descriptors_path:
            add_descriptors_page(app, state, descriptors)
        console = settings.console
        if console or (console is None and app.debug):
            _add_console(app, state, descriptors)
        _put_pages_before(app, settings, health)
        app.cli.add_command(grpc_cli)
        if settings.scm:
            _init_scm(app, self._db)


def _put_pages_before(app: Flask, settings: Settings, health: Health) -> None:
    """Serve what is not for the app: it might send its callers to a login."""
    if settings.scm and settings.scm_webhooks:
        webhooks = WebhookPages(app, settings.url_prefix, _receive, app.wsgi_app)
        app.wsgi_app = webhooks.wsgi_app  # type: ignore[method-assign]
    if settings.health_path:
        app.wsgi_app = HealthPages(health, settings.health_path, app.wsgi_app).wsgi_app  # type: ignore[method-assign]


def _surround(calls: AppCalls, blueprint: Blueprint, host: str) -> None:
    """Put a WSGI application around that of the app."""
    app, prefix = calls.app, calls.settings.url_prefix
    # A WSGI middleware around the app must not be bypassed.
    has_middleware = "wsgi_app" in vars(app)
    methods = {prefix + path: method for path, method in calls.methods.items()}
    rpc_app = RpcApp(calls, blueprint, methods, host)
    app.wsgi_app = rpc_app.wsgi_app  # type: ignore[method-assign]
    if not has_middleware:
        lane = FastLane(calls, blueprint, rpc_app)
        calls.on_route = lane.add_route
        app.wsgi_app = lane.wsgi_app  # type: ignore[method-assign]
        app.request_context = lane.request_context  # type: ignore[method-assign]
    # Where gRPC is off, too: its clients are told so by a status.
    app.wsgi_app = TrailersApp(app.wsgi_app).wsgi_app  # type: ignore[method-assign]


def _host(app: Flask, settings: Settings) -> str:
    """The host that serves the RPCs; empty when it does not matter.

    :raises ConfigError: when the app would not look at what is configured, or at nothing else.
    """
    is_matched = app.url_map.host_matching
    if is_matched and not settings.host:
        raise ConfigError(
            "GRPC_HOST is not set, but the app has host_matching=True: no request would reach its RPCs; set it to their"
            " host, with the port, such as 'api.example.com'"
        )
    if settings.host and not is_matched:
        raise ConfigError(f"GRPC_HOST {settings.host!r} needs an app that matches hosts: Flask(…, host_matching=True)")
    if not settings.subdomain:
        return settings.host
    if is_matched or not app.subdomain_matching or not app.config["SERVER_NAME"]:
        raise ConfigError(
            f"GRPC_SUBDOMAIN {settings.subdomain!r} needs an app that matches subdomains of its SERVER_NAME: set that,"
            " and Flask(…, subdomain_matching=True) without host_matching"
        )
    return read_host(f"{settings.subdomain}.{app.config['SERVER_NAME']}")


def _scheme(app: Flask) -> str:
    port = (app.config["SERVER_NAME"] or "").rpartition(":")[2]
    return {"80": "http", "443": "https"}.get(port) or str(app.config["PREFERRED_URL_SCHEME"])


def _tracing() -> Observer:
    try:
        from flask_grpcweb_scm.observe.otel import server_tracing
    except ImportError:
        raise ConfigError("GRPC_OTEL needs opentelemetry-api: pip install 'flask_grpcweb_scm[otel]'") from None
    return server_tracing()


def _metrics() -> Metrics:
    try:
        from flask_grpcweb_scm.observe.prometheus import metrics
    except ImportError:
        raise ConfigError(
            "GRPC_METRICS_PATH needs prometheus_client: pip install 'flask_grpcweb_scm[prometheus]'"
        ) from None
    return metrics()


def _own_checks(settings: Settings, counts: Counts | None) -> Iterator[Check]:
    if settings.scm:
        yield Check(_ping, SCM_SERVICE, "database")
    if settings.rate_limits and counts is not None:
        # Without it, calls are refused.
        yield Check(counts.check, name="GRPC_RATE_LIMIT_STORAGE")


def _ping() -> None:
    from flask_grpcweb_scm.scm import ping

    ping()


def _figures() -> Mapping[str, tuple[str, float]]:
    from flask_grpcweb_scm.scm import figures

    return figures()


def _receive(name: str, headers: Mapping[str, str], read_body: Callable[[], bytes]) -> tuple[int, str]:
    from flask_grpcweb_scm.scm.webhooks import receive

    return receive(name, headers, read_body)


def _webhook_findings() -> Iterator[str]:
    from flask_grpcweb_scm.scm.webhooks import findings

    return findings()


def _descriptor_sets(settings: Settings) -> list[FileDescriptorSet]:
    try:
        return read_sets(settings.descriptor_sets)
    except ValueError as error:
        raise ConfigError(f"GRPC_DESCRIPTOR_SETS: {error}") from None


def _add_console(app: Flask, state: AppState, descriptors: Descriptors) -> None:
    from flask_grpcweb_scm.console import add_console

    add_console(app, state, descriptors)


def _scm_service() -> Service:
    # Importing SQLAlchemy is slower than all other imports, and not every app needs it.
    from flask_grpcweb_scm.scm import service

    return service


def _init_scm(app: Flask, host_db: SQLAlchemy | None) -> None:
    from flask_grpcweb_scm.scm import init_app

    init_app(app, host_db)
    app.cli.add_command(LateGroup("scm", "flask_grpcweb_scm.scm.cli:scm_cli", "Set up what ScmService serves."))


def _warn_of_greenlets(dispatcher: Dispatcher) -> None:
    monkey = sys.modules.get("gevent.monkey")
    paths = [path for path, method in dispatcher.methods.items() if method.is_async]
    if paths and monkey is not None and monkey.is_module_patched("threading"):
        warn(
            f"the functions of {', '.join(paths)} are async, and gevent runs one of them at a time: calls fail while"
            " another one waits; take workers with threads, such as gunicorn's gthread"
        )


def _warn_if_open(app: Flask, settings: Settings) -> None:
    if not (settings.require_auth or "GRPC_REQUIRE_AUTH" in app.config or app.debug or app.testing):
        warn(
            "RPCs of this app are open to everybody; set GRPC_AUTH_TOKENS, GRPC_TOKEN_SECRETS or GRPC_HMAC_SECRETS to"
            " authenticate callers, or GRPC_REQUIRE_AUTH to False if that is on purpose"
        )
