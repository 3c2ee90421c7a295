"""``flask grpc check``: a line for each thing that a reviewer would remark on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, request
from flask_cors import CORS
from flask_login import LoginManager
from werkzeug.middleware.proxy_fix import ProxyFix

from flask_grpcweb_scm import GrpcWebScm, Identity
from flask_grpcweb_scm.cli.check import findings
from flask_grpcweb_scm.configuration import CREDENTIAL_KEYS
from tests.apps import ECHO, echo_app, echo_service
from tests.security.support import FULL, HMAC_SECRET, OTHER_SECRET, SECRET_KEY, TOKEN_SECRET

SOUND: dict[str, Any] = {
    "SECRET_KEY": SECRET_KEY,
    "GRPC_AUTH_TOKENS": {FULL: {"organizations": ["demo"], "methods": [ECHO[1:] + "*"]}},
    "GRPC_TOKEN_SECRETS": [TOKEN_SECRET],
    "GRPC_HMAC_SECRETS": [HMAC_SECRET],
    "GRPC_HMAC_REQUIRE_TIMESTAMP": True,
    "GRPC_MAX_TIMEOUT": 60,
    "GRPC_RATE_LIMITS": "100/minute",
    "GRPC_RATE_LIMIT_STORAGE": "memory://",
    "GRPC_CORS_ORIGINS": ["https://app.example"],
    "SESSION_COOKIE_SECURE": True,
    "SESSION_COOKIE_SAMESITE": "Lax",
    "GRPC_CORS_CREDENTIALS": True,
    "GRPC_PUBLIC_METHODS": [ECHO[1:] + "Unary"],
}
KEYS = ("GRPC_AUTH_TOKENS", "GRPC_TOKEN_SECRETS", "GRPC_HMAC_SECRETS")
NO_CREDENTIALS: dict[str, Any] = dict.fromkeys(KEYS, MISSING := object())
SCOPE = {"organizations": ["demo"], "methods": [ECHO[1:] + "*"]}
SCM_SERVICE = "sentry.integrations.scm.v1.ScmService/*"
REDIS = {"GRPC_RATE_LIMIT_STORAGE": "redis://127.0.0.1:1"}
WORKERS = {"WEB_CONCURRENCY": "4"}
SQLITE = {"SQLALCHEMY_DATABASE_URI": "sqlite:///scm.db"}
PLACEHOLDERS = [
    "changeme", "change-me-in-production-please-do-it-now", "your-auth-token", "your_secret_key", "token1", "secret2",
    "secret", "password", "test", "dev", "xxxx", "django-insecure-k2j3h4k2j3h4k2j3h4k2j3h4kjh", "an-example-of-a-token",
    "${TOKENS}", "{{ vault.token_of_the_production_server }}",
]  # fmt: skip

RANDOM = [
    "97c53e0a1f0f0a2b6d1b8f2c8a44d6e3", "31415926535897932384626433832795", "qjxkbvmwzpfygcrldhtnsaeiou3qpvzk",
    "V1StGXR8_Z5jdHi6B-myT7uNq2Lw0aKe", "550e8400-e29b-41d4-a716-446655440000",
]  # fmt: skip
WEAK = [
    "a" * 32, "ab" * 20, "password" * 5, "1234567890" * 4, "abcdefghijklmnopqrstuvwxyz0123456789",
    "zyxwvutsrqponmlkjihgfedcba9876543210", "qwertyuiopasdfghjklzxcvbnm123456", "correct-horse-battery-staple-now",
    "0123456789abcdef0123456789abcdef", "deadbeefdeadbeefdeadbeefdeadbeef", "aabbccddeeffgghhiijjkkllmmnnooppqq",
    "00000000-0000-0000-0000-000000000000", "super-secret-production-password-1234", "full-" + "f" * 40,
]  # fmt: skip
LOCAL_ORIGINS = [
    "http://localhost:3000", "https://localhost", "http://127.0.0.1:8080", "http://127.1.2.3", "http://0.0.0.0:80",
    "http://app.localhost:5173", "app://localhost",
]  # fmt: skip
METADATA_HOSTS = [
    "169.254.169.254", "169.254.170.2", "fd00:ec2::254", "fe80::a9fe:a9fe", "::ffff:a9fe:a9fe", "64:ff9b::a9fe:a9fe",
    "metadata.google.internal", "metadata.google.internal.", "metadata", "metadata.goog", "100.100.100.200",
    "0xa9fea9fe", "2852039166", "0251.0376.0251.0376", "169.254.43518", "instance-data.ec2.internal", "192.0.0.192",
]  # fmt: skip


def sound_app(extension: GrpcWebScm | None = None, **config: Any) -> Flask:
    configured = {key: value for key, value in {**SOUND, **config}.items() if value is not MISSING}
    app = echo_app(extension=extension, **configured)
    app.wsgi_app = ProxyFix(app.wsgi_app)  # type: ignore[method-assign]
    return app


def advice(config: dict[str, Any], environment: dict[str, str] | None = None) -> list[str]:
    app = sound_app(**config)
    found = findings(app, app.extensions["grpcweb_scm"].settings, environment or {})
    # There is no Redis.
    return [line for line in found if not line.startswith("GRPC_RATE_LIMIT_STORAGE does not respond")]


@pytest.mark.parametrize(
    ("config", "environment"),
    [
        ({}, {}),
        (REDIS, WORKERS),
        ({}, {"WEB_CONCURRENCY": "auto"}),
        (SQLITE, {"WEB_CONCURRENCY": "1"}),
        ({"SQLALCHEMY_DATABASE_URI": "postgresql+psycopg://h/d", **REDIS}, WORKERS),
        ({"GRPC_RATE_LIMITS": "1/hour"}, {}),
        ({"GRPC_PAGE_TOKEN_SECRETS": OTHER_SECRET}, {}),
        ({"GRPC_PAGE_TOKEN_SECRETS": OTHER_SECRET, "SECRET_KEY": None}, {}),
        ({"SECRET_KEY": SECRET_KEY.encode()}, {}),
        ({"SECRET_KEY": None}, {}),  # only ScmService has pages
        ({**NO_CREDENTIALS, "GRPC_REQUIRE_AUTH": False}, {}),
        ({**NO_CREDENTIALS, "GRPC_REQUIRE_AUTH": True, "GRPC_PUBLIC_METHODS": ECHO[1:] + "*"}, {}),
        (
            {
                **NO_CREDENTIALS,
                "GRPC_SCM": True,
                "GRPC_REQUIRE_AUTH": True,
                "GRPC_PUBLIC_METHODS": [ECHO[1:] + "*", SCM_SERVICE],
            },
            {},
        ),
        ({"GRPC_XYZ": 1, "GRPC_IGNORED_KEYS": ["GRPC_XYZ"]}, {}),
        ({}, {"GUNICORN_CMD_ARGS": "--bind :80 --threads=10"}),
        ({"GRPC_SCM": True}, {}),
        ({"GRPC_AUTH_TOKENS": {FULL: {"methods": [ECHO[1:] + "*"]}}, "GRPC_SCM": True}, {}),
        ({"SESSION_COOKIE_SAMESITE": "None"}, {}),
        ({"GRPC_CORS_CREDENTIALS": False, "SESSION_COOKIE_SECURE": False}, {}),
        ({"GRPC_CORS_ORIGINS": ["https://localhost.example", "https://app127.0.0.1.example"]}, {}),
        ({"GRPC_SCM_ALLOWED_HOSTS": "10.0.0.1, ghe.example, 127.0.0.1, fd00::1, metadata-of.example"}, {}),
        *(({"GRPC_HMAC_SECRETS": [text]}, {}) for text in RANDOM),
    ],
)
def test_nothing_to_remark(config: dict[str, Any], environment: dict[str, str]) -> None:
    assert advice(config, environment) == []


@pytest.mark.parametrize(
    ("config", "environment", "start"),
    [
        *(({"GRPC_HMAC_SECRETS": [text]}, {}, "GRPC_HMAC_SECRETS has a value that repeats itself") for text in WEAK),
        *(({"SECRET_KEY": text}, {}, "SECRET_KEY has a value that repeats itself") for text in ("k" * 64, b"k" * 64)),
        ({"SECRET_KEY_FALLBACKS": ["old"]}, {}, "SECRET_KEY_FALLBACKS has a value of fewer"),
        *(
            ({"GRPC_CORS_ORIGINS": [origin]}, {}, f"GRPC_CORS_ORIGINS has {origin}: any program on")
            for origin in LOCAL_ORIGINS
        ),
        *(
            ({"GRPC_SCM_ALLOWED_HOSTS": [host]}, {}, f"GRPC_SCM_ALLOWED_HOSTS has {host}, where clouds hand out")
            for host in METADATA_HOSTS
        ),
        ({"GRPC_RATE_LIMITS": {}}, {}, "GRPC_RATE_LIMITS is not set"),
        ({"GRPC_RATE_LIMITS": ""}, {}, "GRPC_RATE_LIMITS is not set"),
        ({"GRPC_MAX_STREAMS": None}, {}, "GRPC_MAX_STREAMS is None"),
        ({"GRPC_MAX_AUTH_FAILURES": None}, {}, "GRPC_MAX_AUTH_FAILURES is None"),
        ({"GRPC_AUTH_TOKENS": FULL}, {}, "GRPC_AUTH_TOKENS has a token without a scope"),
        ({"GRPC_AUTH_TOKENS": {FULL: {}, OTHER_SECRET: SCOPE}}, {}, "GRPC_AUTH_TOKENS has a token without a scope"),
        (
            {"GRPC_AUTH_TOKENS": {FULL: {"methods": [SCM_SERVICE]}}, "GRPC_SCM": True},
            {},
            "GRPC_AUTH_TOKENS has a token for ScmService without organizations",
        ),
        ({"SESSION_COOKIE_SECURE": False}, {}, "SESSION_COOKIE_SECURE is off"),
        ({"SESSION_COOKIE_HTTPONLY": False}, {}, "SESSION_COOKIE_HTTPONLY is off"),
        ({"SESSION_COOKIE_SAMESITE": None}, {}, "SESSION_COOKIE_SAMESITE is not set"),
        (NO_CREDENTIALS, {}, "GRPC_REQUIRE_AUTH is off: anyone may call; set"),
        ({"GRPC_MAX_STREAMS_TOTAL": None}, {}, "GRPC_MAX_STREAMS_TOTAL is None: streams may take all threads"),
        ({}, {"GUNICORN_CMD_ARGS": "--threads 9"}, "GRPC_MAX_STREAMS_TOTAL is 8 and GUNICORN_CMD_ARGS has 9 threads"),
        (
            {"GRPC_REQUIRE_AUTH": False},
            {},
            "GRPC_REQUIRE_AUTH is off: anyone may call, and GRPC_AUTH_TOKENS and GRPC_TOKEN_SECRETS and"
            " GRPC_HMAC_SECRETS guard nothing.",
        ),
        ({"DEBUG": True}, {}, "The app is in debug mode"),
        ({"SECRET_KEY": None, "GRPC_SCM": True}, {}, "SECRET_KEY is not set"),
        ({"SECRET_KEY": "k" * 31}, {}, "SECRET_KEY has a value of fewer than 32 characters"),
        ({"GRPC_AUTH_TOKENS": {"k" * 31: SCOPE}}, {}, "GRPC_AUTH_TOKENS has a value of fewer"),
        ({"GRPC_TOKEN_SECRETS": [TOKEN_SECRET, "old"]}, {}, "GRPC_TOKEN_SECRETS has a value of fewer"),
        ({"GRPC_HMAC_SECRETS": " , ,short"}, {}, "GRPC_HMAC_SECRETS has a value of fewer"),
        ({"GRPC_PAGE_TOKEN_SECRETS": "short"}, {}, "GRPC_PAGE_TOKEN_SECRETS has a value of fewer"),
        ({"GRPC_HMAC_SECRETS": [TOKEN_SECRET]}, {}, "GRPC_TOKEN_SECRETS and GRPC_HMAC_SECRETS use one value twice"),
        ({"GRPC_TOKEN_SECRETS": [SECRET_KEY]}, {}, "SECRET_KEY and GRPC_TOKEN_SECRETS use one value twice"),
        ({"GRPC_HMAC_SECRETS": [HMAC_SECRET] * 2}, {}, "GRPC_HMAC_SECRETS use one value twice"),
        ({"GRPC_HMAC_REQUIRE_TIMESTAMP": False}, {}, "GRPC_HMAC_REQUIRE_TIMESTAMP is off"),
        ({"GRPC_HMAC_MAX_AGE": 86400}, {}, "GRPC_HMAC_MAX_AGE is over 3600 seconds"),
        ({"GRPC_CORS_ORIGINS": "*", "GRPC_CORS_CREDENTIALS": False}, {}, "GRPC_CORS_ORIGINS is '*'"),
        ({"GRPC_CORS_ORIGINS": "http://app.example"}, {}, "GRPC_CORS_ORIGINS has http://app.example"),
        ({"GRPC_CORS_ORIGINS": "http://localhost.evil.example"}, {}, "GRPC_CORS_ORIGINS has http://localhost.evil"),
        ({"GRPC_MAX_TIMEOUT": None}, {}, "GRPC_MAX_TIMEOUT is not set"),
        ({**SQLITE, **REDIS}, WORKERS, "The database is SQLite and WEB_CONCURRENCY is 4"),
        ({"GRPC_RATE_LIMITS": "1/hour"}, WORKERS, "GRPC_RATE_LIMIT_STORAGE is in memory and WEB_CONCURRENCY is 4"),
        *(({"GRPC_AUTH_TOKENS": {text: SCOPE}}, {}, "GRPC_AUTH_TOKENS has a placeholder") for text in PLACEHOLDERS),
    ],
)
def test_a_remark(config: dict[str, Any], environment: dict[str, str], start: str) -> None:
    (line,) = advice(config, environment)
    assert line.startswith(start)


@pytest.mark.filterwarnings("ignore:configuration key")
def test_an_unknown_key_is_remarked_on() -> None:
    (line,) = advice({"GRPC_MAX_TIMOUT": 60})
    assert line.startswith("configuration key GRPC_MAX_TIMOUT is unknown; did you mean 'GRPC_MAX_TIMEOUT'?")


def test_an_authenticator_needs_no_key() -> None:
    extension = GrpcWebScm(services=[echo_service()], authenticate=lambda context: Identity("ann"))
    app = sound_app(extension, **NO_CREDENTIALS)
    assert findings(app, app.extensions["grpcweb_scm"].settings, {}) == []


def test_public_methods_of_the_scm_service_are_remarked_on() -> None:
    config = {"GRPC_SCM": True, "GRPC_PUBLIC_METHODS": "sentry.integrations.scm.v1.ScmService/GetRepository"}
    (line,) = advice(config)
    assert line.startswith("GRPC_PUBLIC_METHODS has methods of ScmService")


@pytest.mark.parametrize(
    ("config", "count"),
    [
        ({}, 1),
        ({"GRPC_REQUIRE_AUTH": False}, 1),
        ({"GRPC_REQUIRE_AUTH": False, "GRPC_RATE_LIMITS": {}}, 0),
    ],
)
def test_a_proxy_that_nobody_looks_through_is_remarked_on(config: dict[str, Any], count: int) -> None:
    def lines(wrap: Callable[[Any], Any] | None, *, before: bool = False) -> list[str]:
        def surround(app: Flask) -> None:
            if wrap:
                app.wsgi_app = wrap(app.wsgi_app)  # type: ignore[method-assign]

        app = echo_app(**{**SOUND, **config}, prepare=surround if before else None)
        if not before:
            surround(app)
        found = findings(app, app.extensions["grpcweb_scm"].settings, {})
        return [line for line in found if line.startswith("No ProxyFix is around the app")]

    class Other:
        def __init__(self, app: Any) -> None:
            self.inner = app

        def __call__(self, environ: Any, start_response: Any) -> Any:
            return self.inner(environ, start_response)

    assert len(lines(None)) == len(lines(Other)) == len(lines(Other, before=True)) == count
    for wrap in (ProxyFix, lambda app: Other(ProxyFix(app, x_for=0)), lambda app: ProxyFix(Other(app))):
        assert lines(wrap) == lines(wrap, before=True) == []


@pytest.mark.parametrize(("mode", "count"), [(0o600, 0), (0o640, 0), (0o644, 1), (0o606, 1), (None, 0)])
def test_a_database_that_others_may_read_is_remarked_on(tmp_path: Path, mode: int | None, count: int) -> None:
    file = tmp_path / "scm.db"
    if mode is not None:
        file.touch()
        file.chmod(mode)
    lines = advice({"GRPC_SCM": True, "SQLALCHEMY_DATABASE_URI": f"sqlite:///{file}"})
    assert sum(line.startswith("The file of the database may be read or changed by all") for line in lines) == count


def test_the_cookie_of_flask_login_is_looked_at_too() -> None:
    app = sound_app()
    LoginManager(app)
    lines = findings(app, app.extensions["grpcweb_scm"].settings, {})
    assert [line.partition(" ")[0] for line in lines] == ["REMEMBER_COOKIE_SECURE", "REMEMBER_COOKIE_SAMESITE"]


def test_no_remark_repeats_a_secret() -> None:
    config = {"SECRET_KEY": "hush", "GRPC_AUTH_TOKENS": "hush,hushhush", "GRPC_HMAC_SECRETS": "hush" * 9}
    lines = advice(config)
    assert len(lines) >= 4
    assert "hush" not in "".join(lines)


def test_the_command_prints_them_and_exits_with_1_for_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEB_CONCURRENCY", "4")
    result = sound_app(**{**SQLITE, **REDIS, "DEBUG": False}).test_cli_runner().invoke(args=["grpc", "check"])
    assert (result.exit_code, result.output.count("\n")) == (1, 2)
    assert "SQLite" in result.output


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ({"supports_credentials": True}, 1),
        ({"supports_credentials": True, "origins": "*"}, 1),
        ({"supports_credentials": True, "origins": ["https://app.example"]}, 0),
        ({"origins": "*"}, 0),
    ],
)
@pytest.mark.parametrize("prefix", ["", "/rpc"])
def test_cookies_for_every_origin_are_remarked_on(options: dict[str, Any], count: int, prefix: str) -> None:
    app = echo_app(**SOUND, GRPC_URL_PREFIX=prefix, prepare=lambda app: CORS(app, **options))
    remarks = findings(app, app.extensions["grpcweb_scm"].settings, {})
    assert len([remark for remark in remarks if remark.startswith("Pages of every origin may call")]) == count


def test_a_preflight_that_fails_is_remarked_on() -> None:
    app = sound_app()
    app.before_request(lambda: {}["secret"])
    (remark,) = findings(app, app.extensions["grpcweb_scm"].settings, {})
    assert remark == f"A preflight for {ECHO}Unary fails: KeyError in a hook of the app."


@pytest.mark.parametrize(
    ("key", "hook", "found"),
    [
        ("GRPC_METRICS_PATH", lambda: None, ["GRPC_METRICS_PATH: anyone who reaches /page reads it"]),
        ("GRPC_METRICS_PATH", lambda: ("log in first", 401), []),
        ("GRPC_METRICS_PATH", lambda: {}["page"], ["The page of GRPC_METRICS_PATH fails: KeyError"]),
        # It is for those who may call.
        ("GRPC_DESCRIPTORS_PATH", lambda: None, []),
        ("GRPC_DESCRIPTORS_PATH", lambda: {}["page"], ["The page of GRPC_DESCRIPTORS_PATH fails: KeyError"]),
        ("GRPC_HEALTH_PATH", lambda: None, []),
    ],
)
def test_a_page_is_opened_as_a_stranger_does(key: str, hook: Any, found: list[str]) -> None:
    app = sound_app(**{key: "/page"})
    app.before_request(
        lambda: hook() if request.endpoint in {"grpcweb_scm_metrics", "grpcweb_scm_descriptors"} else None
    )
    lines = findings(app, app.extensions["grpcweb_scm"].settings, {})
    assert [expected in line for line, expected in zip(lines, found, strict=True)] == [True] * len(found)


@pytest.mark.parametrize(
    ("config", "count"), [({}, 1), ({"GRPC_REQUIRE_AUTH": False}, 0), ({"GRPC_AUTH_TOKENS": FULL}, 0)]
)
@pytest.mark.filterwarnings("ignore:RPCs of this app are open to everybody")
def test_a_console_that_nobody_meant_to_be_open_is_remarked_on(config: dict[str, Any], count: int) -> None:
    app = echo_app(GRPC_CONSOLE=True, **config)
    lines = findings(app, app.extensions["grpcweb_scm"].settings, {})
    assert len([line for line in lines if line.startswith("GRPC_CONSOLE")]) == count


@pytest.mark.parametrize(
    ("config", "found"),
    [
        ({"GRPC_HEALTH": "watch", "GRPC_HEALTH_PATH": "/healthz"}, []),
        ({"GRPC_REFLECTION": True}, ["GRPC_REFLECTION"]),
        ({"GRPC_DESCRIPTORS_PATH": "/services"}, ["GRPC_DESCRIPTORS_PATH"]),
    ],
)
def test_services_that_everybody_may_list_are_remarked_on(config: dict[str, Any], found: list[str]) -> None:
    credentials = {key: value for key, value in SOUND.items() if key in CREDENTIAL_KEYS}
    others = {key: value for key, value in SOUND.items() if key not in CREDENTIAL_KEYS}
    for options, expected in (({**credentials}, []), ({"GRPC_REQUIRE_AUTH": False}, found)):
        app = echo_app(**others, **options, **config)
        lines = findings(app, app.extensions["grpcweb_scm"].settings, {})
        assert [line.split()[0].rstrip(":") for line in lines if line.startswith("GRPC_")] == expected
