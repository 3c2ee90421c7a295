"""Advice on the configuration of an app."""

from __future__ import annotations

import ipaddress
import math
import os
import re
import socket
from collections import Counter
from collections.abc import Collection, Iterator, Mapping

from flask import Flask
from werkzeug.middleware.proxy_fix import ProxyFix

from flask_grpcweb_scm.cli.check_operation import operation_findings, threads_of
from flask_grpcweb_scm.configuration import CREDENTIAL_KEYS, empty_credentials, unknown_keys
from flask_grpcweb_scm.settings import Settings
from flask_grpcweb_scm.state import AppState

__all__ = ["findings"]

MIN_SECRET_CHARACTERS = 32
MIN_SECRET_BITS = 64
MIN_REPETITION = 3
MAX_MIDDLEWARES = 100
OTHERS = 0o007
"""Permissions of those who are neither the owner of a file nor of its group."""
MAX_HMAC_AGE_SECONDS = 3600
STRANGER = "https://stranger.invalid"
SCM_SERVICE = "sentry.integrations.scm.v1.ScmService/"

_PLACEHOLDER = re.compile(
    r"change.?(?:me|this|it)|your.?(?:auth|secret|token|key)|placeholder|example|insecure|\$\{|\{\{"
    r"|\A(?:token|secret|password|test|dev|todo|x+)\W?\d*\Z",
    re.IGNORECASE,
)
_LOCAL_ORIGIN = re.compile(r"[^/]+//(?:(?:[\w.-]+\.)?localhost\.?|127(?:\.\d+)+|0\.0\.0\.0)(?::\d+)?")
# Characters that come together in what generators print: digits alone, hexadecimal digits, letters, base64.
_PARTS = ("0123456789", "abcdef", "ghijklmnopqrstuvwxyz", "ABCDEF", "GHIJKLMNOPQRSTUVWXYZ")
_KNOWN = frozenset("".join(_PARTS))
_WORDS = re.compile(
    "secret|pass(?:word|phrase|wd)?|token|key|prod(?:uction)?|admin|super|default|staging|flask|grpc|signing|request"
    "|very|long|mine?|correct|horse|battery|staple|this|that|the|and|not|only|safe|secure|random",
    re.IGNORECASE,
)
_ROWS = ("0123456789", "abcdefghijklmnopqrstuvwxyz", "qwertyuiop", "asdfghjkl", "zxcvbnm")
_NEIGHBOURS = frozenset(row[at : at + 2][::step] for row in _ROWS for at in range(len(row) - 1) for step in (1, -1))
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_METADATA_ADDRESSES = frozenset(
    map(
        ipaddress.ip_address,
        ("100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254"),
    )
)


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
        *_scopes(app, settings),
        *_signatures(settings),
        *_browsers(app, settings),
        *_hosts(settings),
        *_proxies(app, settings),
        *_preflight(app),
        *_pages(app, settings),
        *_reflection(app),
        *_console(app),
        *_resources(settings, environment),
        *_database(app, settings),
        *_webhooks(app),
        *_processes(app, settings, environment),
        *operation_findings(app, settings, environment),
    ]


def _access(app: Flask, settings: Settings) -> Iterator[str]:
    empty = empty_credentials(app.config)
    for key in empty:
        yield f"{key} is set, but holds nothing; take it away."
    guards = [key for key in CREDENTIAL_KEYS if key in app.config and key not in empty]
    if not settings.require_auth and guards:
        yield f"GRPC_REQUIRE_AUTH is off: anyone may call, and {' and '.join(guards)} guard nothing."
    elif not settings.require_auth and "GRPC_REQUIRE_AUTH" not in app.config:
        yield (
            "GRPC_REQUIRE_AUTH is off: anyone may call; set GRPC_AUTH_TOKENS, GRPC_TOKEN_SECRETS or GRPC_HMAC_SECRETS,"
            " or set it to False if that is on purpose."
        )
    if app.debug:
        yield "The app is in debug mode, which must not be reachable by others."
    state: AppState = app.extensions["grpcweb_scm"]
    is_open = settings.are_public(state.dispatcher.guarded)
    if any(name.startswith(SCM_SERVICE) for name in settings.public_methods) and not is_open:
        yield "GRPC_PUBLIC_METHODS has methods of ScmService: anyone reaches the rows of every organization."


def _secrets_by_key(app: Flask, settings: Settings) -> dict[str, Collection[str]]:
    key = app.config.get("SECRET_KEY") or ()
    return {
        "SECRET_KEY": _texts([key] if key else []),
        "SECRET_KEY_FALLBACKS": _texts(app.config.get("SECRET_KEY_FALLBACKS") or []),
        "GRPC_AUTH_TOKENS": settings.auth_tokens,
        "GRPC_TOKEN_SECRETS": settings.token_secrets,
        "GRPC_HMAC_SECRETS": settings.hmac_secrets,
        "GRPC_SCM_WEBHOOKS": [
            each["secret"] for webhook in settings.scm_webhooks.values() for each in webhook if "secret" in each
        ],
        # Without this key the setting is SECRET_KEY.
        "GRPC_PAGE_TOKEN_SECRETS": settings.page_token_secrets if app.config.get("GRPC_PAGE_TOKEN_SECRETS") else (),
    }


def _texts(keys: Collection[str | bytes]) -> list[str]:
    return [key.decode("latin-1") if isinstance(key, bytes) else key for key in keys]


def _page_tokens(app: Flask, settings: Settings) -> Iterator[str]:
    if settings.scm and not (app.config.get("SECRET_KEY") or app.config.get("GRPC_PAGE_TOKEN_SECRETS")):
        yield "SECRET_KEY is not set: page tokens are valid only in the process that made them."


def _secrets(secrets: Mapping[str, Collection[str]]) -> Iterator[str]:
    for key, values in secrets.items():
        if any(_PLACEHOLDER.search(value) for value in values):
            yield f"{key} has a placeholder from an example as a value: attackers try those first."
        elif any(len(value) < MIN_SECRET_CHARACTERS for value in values):
            yield f"{key} has a value of fewer than {MIN_SECRET_CHARACTERS} characters, which can be guessed."
        elif any(_bits(value) < MIN_SECRET_BITS for value in values):
            yield f"{key} has a value that repeats itself or counts up, which can be guessed in spite of its length."
    uses = Counter(value for values in secrets.values() for value in values)
    shared = [key for key, values in secrets.items() if any(uses[value] > 1 for value in values)]
    if shared:
        yield f"{' and '.join(shared)} use one value twice: a leak of one is a leak of both."


def _bits(text: str) -> float:
    """Estimate the entropy of a text: of repetitions, usual words and neighbours on a keyboard it has little."""
    text = _WORDS.sub("~", text)
    characters = sum(len(members) for members in _PARTS if not set(members).isdisjoint(text)) + len({*text} - _KNOWN)
    bits, at = 0.0, 0
    while at < len(text):
        length = _repeated(text, at)
        if length >= MIN_REPETITION:
            bits += math.log2(len(text))
            at += length
            continue
        is_expected = at > 0 and (text[at - 1 : at + 1].lower() in _NEIGHBOURS or text[at] == text[at - 1])
        bits += 1 if is_expected else math.log2(max(2, characters))
        at += 1
    return bits


def _repeated(text: str, at: int) -> int:
    """Return the length of the longest piece that begins here and has been in the text before."""
    length = 0
    while at + length < len(text) and text.find(text[at : at + length + 1], 0, at + length) >= 0:
        length += 1
    return length


def _scopes(app: Flask, settings: Settings) -> Iterator[str]:
    state: AppState = app.extensions["grpcweb_scm"]
    scm = [path for path in state.dispatcher.methods if path.startswith(f"/{SCM_SERVICE}")]
    identities = settings.auth_tokens.values()
    if any(caller.methods is None and caller.organizations is None for caller in identities):
        yield "GRPC_AUTH_TOKENS has a token without a scope: it may do everything; give it organizations and methods."
    elif any(
        caller.organizations is None and any(caller.may_call(*path[1:].split("/")) for path in scm)
        for caller in identities
    ):
        yield "GRPC_AUTH_TOKENS has a token for ScmService without organizations: it reaches the rows of all of them."


def _hosts(settings: Settings) -> Iterator[str]:
    for host in sorted(filter(_is_metadata_service, settings.scm_allowed_hosts)):
        yield (
            f"GRPC_SCM_ALLOWED_HOSTS has {host}, where clouds hand out the credentials of the machine: whoever can name"
            " a tracker's URL reads them; take it out."
        )


def _is_metadata_service(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host.strip("[]").rstrip("."))
    except ValueError:
        try:
            # As resolvers read numbers: 0xa9fea9fe, 2852039166, 0251.254.169.254.
            address = ipaddress.ip_address(socket.inet_aton(host.rstrip(".")))
        except OSError:
            # instance-data.ec2.internal, metadata.google.internal, rancher's and others' a.metadata.b.
            first, *others = host.lower().rstrip(".").split(".")
            return first in {"instance-data", "metadata"} or "metadata" in others[:-1]
    if isinstance(address, ipaddress.IPv6Address):
        number = int(address)
        is_translated = address in _NAT64
        address = address.ipv4_mapped or (ipaddress.IPv4Address(number & 0xFFFFFFFF) if is_translated else address)
    return address.is_link_local or address in _METADATA_ADDRESSES


def _proxies(app: Flask, settings: Settings) -> Iterator[str]:
    if (settings.require_auth or settings.rate_limits) and not _has_proxy_fix(app):
        yield (
            "No ProxyFix is around the app: behind a proxy all callers have one address, and wrong credentials of one"
            " are counted for all; wrap app.wsgi_app in werkzeug's ProxyFix, with x_for=0 where there is no proxy."
        )


def _has_proxy_fix(app: Flask) -> bool:
    """Look for it among the WSGI applications around the app, which keep the next one in an attribute."""
    found: list[object] = [app.wsgi_app]
    for each in found:
        if isinstance(each, ProxyFix):
            return True
        inner = [getattr(each, "__self__", None), getattr(each, "__wrapped__", None)]
        if not isinstance(each, Flask):
            inner += [value for value in getattr(each, "__dict__", {}).values() if callable(value)]
        found += [value for value in inner if value is not None and not any(value is other for other in found)]
        if len(found) > MAX_MIDDLEWARES:
            break
    return False


def _signatures(settings: Settings) -> Iterator[str]:
    if settings.hmac_secrets and not settings.hmac_require_timestamp:
        yield "GRPC_HMAC_REQUIRE_TIMESTAMP is off: a signed request without one can be replayed for ever."
    if settings.hmac_secrets and settings.hmac_max_age > MAX_HMAC_AGE_SECONDS:
        yield f"GRPC_HMAC_MAX_AGE is over {MAX_HMAC_AGE_SECONDS} seconds: a signed request can be replayed that long."


def _browsers(app: Flask, settings: Settings) -> Iterator[str]:
    if "*" in settings.cors_origins:
        yield "GRPC_CORS_ORIGINS is '*': pages of every site may call; list the origins."
    for origin in settings.cors_origins:
        if _LOCAL_ORIGIN.fullmatch(origin):
            yield f"GRPC_CORS_ORIGINS has {origin}: any program on a visitor's machine may serve it; take it out."
        elif origin.startswith("http://"):
            yield f"GRPC_CORS_ORIGINS has {origin}: the network can change its pages; use https."
    if settings.cors_credentials:
        yield from _cookies(app)


def _cookies(app: Flask) -> Iterator[str]:
    """Look at the cookies of Flask, and at Flask-Login's where that is used."""
    for name in ("SESSION", "REMEMBER") if hasattr(app, "login_manager") else ("SESSION",):
        if not app.config.get(f"{name}_COOKIE_SECURE"):
            yield f"{name}_COOKIE_SECURE is off beside GRPC_CORS_CREDENTIALS: the network can read the cookie."
        if not app.config.get(f"{name}_COOKIE_HTTPONLY", True):
            yield f"{name}_COOKIE_HTTPONLY is off beside GRPC_CORS_CREDENTIALS: scripts in a page can read the cookie."
        if not app.config.get(f"{name}_COOKIE_SAMESITE"):
            yield (
                f"{name}_COOKIE_SAMESITE is not set beside GRPC_CORS_CREDENTIALS: some browsers send the cookie with"
                " requests of every site; set it to Lax, or to None if the pages are of other sites."
            )


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


def _pages(app: Flask, settings: Settings) -> Iterator[str]:
    """Open the pages as a stranger does: a hook may guard them."""
    for key, path in (
        ("GRPC_METRICS_PATH", settings.metrics_path),
        ("GRPC_DESCRIPTORS_PATH", settings.descriptors_path),
    ):
        if path is None:
            continue
        try:
            state: AppState = app.extensions["grpcweb_scm"]
            status = app.test_client(use_cookies=False).get(path, base_url=state.base_url).status_code
        except Exception as error:
            yield f"The page of {key} fails: {type(error).__name__}."
            continue
        if status == 200:
            yield f"{key}: anyone who reaches {path} reads it; refuse it in the proxy, or in a hook of the app."


def _reflection(app: Flask) -> Iterator[str]:
    state: AppState = app.extensions["grpcweb_scm"]
    is_on = any(name.startswith("grpc.reflection.") for name in state.dispatcher.services)
    if is_on and not state.settings.require_auth:
        yield "GRPC_REFLECTION is on, and callers need no credentials: anyone may read what is served."


def _console(app: Flask) -> Iterator[str]:
    settings = app.extensions["grpcweb_scm"].settings
    is_open = not settings.require_auth and "GRPC_REQUIRE_AUTH" not in app.config  # else it is on purpose
    if settings.console and is_open:
        yield f"GRPC_CONSOLE is on, and callers need no credentials: anyone who reaches {settings.console} may call."


def _resources(settings: Settings, environment: Mapping[str, str]) -> Iterator[str]:
    if settings.max_timeout is None:
        yield "GRPC_MAX_TIMEOUT is not set: streams and long deadlines may hold a worker thread for any time."
    if not settings.rate_limits:
        yield "GRPC_RATE_LIMITS is not set: one caller may keep all threads of the server busy."
    if settings.max_auth_failures is None and settings.require_auth:
        yield "GRPC_MAX_AUTH_FAILURES is None: credentials may be guessed as fast as the server responds."
    if settings.max_streams is None:
        yield "GRPC_MAX_STREAMS is None: one caller may take the streams of all others."
    tenants = {caller.organizations for caller in settings.auth_tokens.values()} - {None}
    if settings.max_calls is None and len(tenants) > 1:
        yield "GRPC_MAX_CALLS is not set: callers of one organization may keep the threads of all others busy."
    streams = settings.max_streams_total
    if streams is None:
        yield "GRPC_MAX_STREAMS_TOTAL is None: streams may take all threads of the server; set it to two less."
    threads = threads_of(environment)
    if streams is not None and threads is not None and streams > threads - 2:
        yield (
            f"GRPC_MAX_STREAMS_TOTAL is {streams} and GUNICORN_CMD_ARGS has {threads} threads: streams may take"
            " nearly all of them; leave two for other calls."
        )


def _database(app: Flask, settings: Settings) -> Iterator[str]:
    if not settings.scm:
        return
    with app.app_context():
        url = app.extensions["sqlalchemy"].engine.url
    try:
        mode = os.stat(url.database).st_mode if url.get_backend_name() == "sqlite" else 0
    except (OSError, TypeError):  # not there yet, or in memory
        return
    if mode & OTHERS:
        yield "The file of the database may be read or changed by all users of the machine: chmod 600, or 660."


def _webhooks(app: Flask) -> list[str]:
    state: AppState = app.extensions["grpcweb_scm"]
    with app.app_context():
        return [*state.findings()]


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
