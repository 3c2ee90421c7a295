"""Advice on the configuration of an app."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping

from flask import Flask

from flask_grpcweb_scm.settings import Settings, unknown_keys
from flask_grpcweb_scm.state import AppState

__all__ = ["findings"]

MIN_SECRET_CHARACTERS = 32
MAX_HMAC_AGE_SECONDS = 3600
STRANGER = "https://stranger.invalid"
SCM_SERVICE = "sentry.integrations.scm.v1.ScmService/"

_PLACEHOLDER = re.compile(
    r"change.?(?:me|this|it)|your.?(?:auth|secret|token|key)|placeholder|example|insecure"
    r"|\A(?:token|secret|password|test|dev|todo|x+)\W?\d*\Z",
    re.IGNORECASE,
)
_GUNICORN_THREADS = re.compile(r"--threads[ =](\d+)")
_LOCAL_ORIGIN = re.compile(r"http://(?:localhost|127\.0\.0\.1)(?::\d+)?")


def findings(app: Flask, settings: Settings, environment: Mapping[str, str] = os.environ) -> list[str]:
    """Return advice on an app's configuration, a line each, with the key to change and never its value.

    :param environment: has ``WEB_CONCURRENCY`` when the app is served by several processes, and perhaps gunicorn's
        ``GUNICORN_CMD_ARGS``.
    """
    return [
        *(unknown.message for unknown in unknown_keys(app.config, settings.ignored_keys)),
        *_access(app, settings),
        *_page_tokens(app, settings),
        *_secrets(_secrets_by_key(app, settings)),
        *_signatures(settings),
        *_browsers(settings),
        *_preflight(app),
        *_metrics(app, settings.metrics_path),
        *_resources(settings, environment),
        *_processes(app, settings, environment),
    ]


def _access(app: Flask, settings: Settings) -> Iterator[str]:
    guards = [key for key in ("GRPC_AUTH_TOKENS", "GRPC_TOKEN_SECRETS", "GRPC_HMAC_SECRETS") if app.config.get(key)]
    if not settings.require_auth and guards:
        yield f"GRPC_REQUIRE_AUTH is off: anyone may call, and {' and '.join(guards)} guard nothing."
    elif not settings.require_auth and "GRPC_REQUIRE_AUTH" not in app.config:
        yield (
            "GRPC_REQUIRE_AUTH is off: anyone may call; set GRPC_AUTH_TOKENS or GRPC_HMAC_SECRETS, or set it to False"
            " if that is on purpose."
        )
    if app.debug:
        yield "The app is in debug mode, which must not be reachable by others."
    state: AppState = app.extensions["grpcweb_scm"]
    is_open = settings.are_public(state.dispatcher.methods)
    if any(name.startswith(SCM_SERVICE) for name in settings.public_methods) and not is_open:
        yield "GRPC_PUBLIC_METHODS has methods of ScmService: anyone reaches the rows of every organization."


def _secrets_by_key(app: Flask, settings: Settings) -> dict[str, Collection[str]]:
    key = app.config.get("SECRET_KEY") or ()
    return {
        "SECRET_KEY": (key.decode("latin-1") if isinstance(key, bytes) else key,) if key else (),
        "GRPC_AUTH_TOKENS": settings.auth_tokens,
        "GRPC_TOKEN_SECRETS": settings.token_secrets,
        "GRPC_HMAC_SECRETS": settings.hmac_secrets,
        # Without this key the setting is SECRET_KEY.
        "GRPC_PAGE_TOKEN_SECRETS": settings.page_token_secrets if app.config.get("GRPC_PAGE_TOKEN_SECRETS") else (),
    }


def _page_tokens(app: Flask, settings: Settings) -> Iterator[str]:
    if settings.scm and not (app.config.get("SECRET_KEY") or app.config.get("GRPC_PAGE_TOKEN_SECRETS")):
        yield "SECRET_KEY is not set: page tokens are valid only in the process that made them."


def _secrets(secrets: Mapping[str, Collection[str]]) -> Iterator[str]:
    for key, values in secrets.items():
        if any(_PLACEHOLDER.search(value) for value in values):
            yield f"{key} has a placeholder from an example as a value: attackers try those first."
        elif any(len(value) < MIN_SECRET_CHARACTERS for value in values):
            yield f"{key} has a value of fewer than {MIN_SECRET_CHARACTERS} characters, which can be guessed."
    uses = Counter(value for values in secrets.values() for value in values)
    shared = [key for key, values in secrets.items() if any(uses[value] > 1 for value in values)]
    if shared:
        yield f"{' and '.join(shared)} use one value twice: a leak of one is a leak of both."


def _signatures(settings: Settings) -> Iterator[str]:
    if settings.hmac_secrets and not settings.hmac_require_timestamp:
        yield "GRPC_HMAC_REQUIRE_TIMESTAMP is off: a signed request without one can be replayed for ever."
    if settings.hmac_secrets and settings.hmac_max_age > MAX_HMAC_AGE_SECONDS:
        yield f"GRPC_HMAC_MAX_AGE is over {MAX_HMAC_AGE_SECONDS} seconds: a signed request can be replayed that long."


def _browsers(settings: Settings) -> Iterator[str]:
    if "*" in settings.cors_origins:
        yield "GRPC_CORS_ORIGINS is '*': pages of every site may call; list the origins."
    for origin in settings.cors_origins:
        if origin.startswith("http://") and not _LOCAL_ORIGIN.fullmatch(origin):
            yield f"GRPC_CORS_ORIGINS has {origin}: the network can change its pages; use https."


def _preflight(app: Flask) -> Iterator[str]:
    """Send the preflight of a foreign page: the response counts, whether of Flask-CORS or of a hook."""
    state: AppState = app.extensions["grpcweb_scm"]
    path = next(iter(state.dispatcher.methods), None)
    if path is None:
        return
    url = state.settings.url_prefix + path
    headers = {"Origin": STRANGER, "Access-Control-Request-Method": "POST"}
    try:
        client = app.test_client(use_cookies=False)
        allowed = client.options(url, headers=headers, base_url=state.base_url).headers
    except Exception as error:
        yield f"A preflight for {url} fails: {type(error).__name__} in a hook of the app."
        return
    origin, credentials = "Access-Control-Allow-Origin", "Access-Control-Allow-Credentials"
    if (allowed.get(origin), allowed.get(credentials)) == (STRANGER, "true"):
        yield (
            "Pages of every origin may call with the cookies of their visitors: Flask-CORS has supports_credentials"
            " beside origins '*', which reflects any origin; list the origins."
        )


def _metrics(app: Flask, path: str | None) -> Iterator[str]:
    """Open the page as a stranger does: a hook may guard it."""
    if path is None:
        return
    try:
        state: AppState = app.extensions["grpcweb_scm"]
        status = app.test_client(use_cookies=False).get(path, base_url=state.base_url).status_code
    except Exception as error:
        yield f"The page of GRPC_METRICS_PATH fails: {type(error).__name__}."
        return
    if status == 200:
        yield f"GRPC_METRICS_PATH: anyone who reaches {path} reads it; refuse it in the proxy, or in a hook of the app."


def _resources(settings: Settings, environment: Mapping[str, str]) -> Iterator[str]:
    if settings.max_timeout is None:
        yield "GRPC_MAX_TIMEOUT is not set: streams and long deadlines may hold a worker thread for any time."
    streams = settings.max_streams_total
    if streams is None:
        yield "GRPC_MAX_STREAMS_TOTAL is None: streams may take all threads of the server; set it to two less."
    threads = _GUNICORN_THREADS.search(environment.get("GUNICORN_CMD_ARGS", ""))
    if streams is not None and threads is not None and streams > int(threads[1]) - 2:
        yield (
            f"GRPC_MAX_STREAMS_TOTAL is {streams} and GUNICORN_CMD_ARGS has {threads[1]} threads: streams may take"
            " nearly all of them; leave two for other calls."
        )


def _processes(app: Flask, settings: Settings, environment: Mapping[str, str]) -> Iterator[str]:
    workers = environment.get("WEB_CONCURRENCY", "1")
    if not workers.isdecimal() or int(workers) < 2:
        return
    if str(app.config.get("SQLALCHEMY_DATABASE_URI", "")).startswith("sqlite"):
        yield f"The database is SQLite and WEB_CONCURRENCY is {workers}: writers wait for each other; use PostgreSQL."
    if settings.rate_limits and settings.rate_limit_storage.startswith("memory:"):
        yield (
            f"GRPC_RATE_LIMIT_STORAGE is in memory and WEB_CONCURRENCY is {workers}: each process allows the"
            " full rate; use Redis."
        )
