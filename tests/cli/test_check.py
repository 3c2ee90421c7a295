"""``flask grpc check``: a line for each thing that a reviewer would remark on."""

from __future__ import annotations

from typing import Any

import pytest
from flask_cors import CORS

from flask_grpcweb_scm import GrpcWebScm, Identity
from flask_grpcweb_scm.cli.check import findings
from tests.apps import ECHO, echo_app, echo_service
from tests.security.support import FULL, HMAC_SECRET, OTHER_SECRET, SECRET_KEY, TOKEN_SECRET

SOUND: dict[str, Any] = {
    "SECRET_KEY": SECRET_KEY,
    "GRPC_AUTH_TOKENS": [FULL],
    "GRPC_TOKEN_SECRETS": [TOKEN_SECRET],
    "GRPC_HMAC_SECRETS": [HMAC_SECRET],
    "GRPC_HMAC_REQUIRE_TIMESTAMP": True,
    "GRPC_MAX_TIMEOUT": 60,
    "GRPC_CORS_ORIGINS": ["https://app.example", "http://localhost:3000"],
    "GRPC_CORS_CREDENTIALS": True,
    "GRPC_PUBLIC_METHODS": [ECHO[1:] + "Unary"],
}
NO_CREDENTIALS: dict[str, Any] = {"GRPC_AUTH_TOKENS": [], "GRPC_TOKEN_SECRETS": [], "GRPC_HMAC_SECRETS": []}
WORKERS = {"WEB_CONCURRENCY": "4"}
SQLITE = {"SQLALCHEMY_DATABASE_URI": "sqlite:///scm.db"}
PLACEHOLDERS = [
    "changeme", "change-me-in-production-please-do-it-now", "your-auth-token", "your_secret_key", "token1", "secret2",
    "secret", "password", "test", "dev", "xxxx", "django-insecure-k2j3h4k2j3h4k2j3h4k2j3h4kjh", "an-example-of-a-token",
]  # fmt: skip


def advice(config: dict[str, Any], environment: dict[str, str] | None = None) -> list[str]:
    app = echo_app(**{**SOUND, **config})
    return findings(app, app.extensions["grpcweb_scm"].settings, environment or {})


@pytest.mark.parametrize(
    ("config", "environment"),
    [
        ({}, {}),
        ({}, WORKERS),
        ({}, {"WEB_CONCURRENCY": "auto"}),
        (SQLITE, {"WEB_CONCURRENCY": "1"}),
        ({"SQLALCHEMY_DATABASE_URI": "postgresql+psycopg://h/d"}, WORKERS),
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
                "GRPC_PUBLIC_METHODS": [ECHO[1:] + "*", "sentry.integrations.scm.v1.ScmService/*"],
            },
            {},
        ),
        ({"GRPC_XYZ": 1, "GRPC_IGNORED_KEYS": ["GRPC_XYZ"]}, {}),
        ({}, {"GUNICORN_CMD_ARGS": "--bind :80 --threads=10"}),
    ],
)
def test_nothing_to_remark(config: dict[str, Any], environment: dict[str, str]) -> None:
    assert advice(config, environment) == []


@pytest.mark.parametrize(
    ("config", "environment", "start"),
    [
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
        ({"GRPC_AUTH_TOKENS": ["k" * 31]}, {}, "GRPC_AUTH_TOKENS has a value of fewer"),
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
        (SQLITE, WORKERS, "The database is SQLite and WEB_CONCURRENCY is 4"),
        ({"GRPC_RATE_LIMITS": "1/hour"}, WORKERS, "GRPC_RATE_LIMIT_STORAGE is in memory and WEB_CONCURRENCY is 4"),
        *(({"GRPC_AUTH_TOKENS": [text]}, {}, "GRPC_AUTH_TOKENS has a placeholder") for text in PLACEHOLDERS),
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
    app = echo_app(extension=extension, **{**SOUND, **NO_CREDENTIALS})
    assert findings(app, app.extensions["grpcweb_scm"].settings, {}) == []


def test_public_methods_of_the_scm_service_are_remarked_on() -> None:
    config = {"GRPC_SCM": True, "GRPC_PUBLIC_METHODS": "sentry.integrations.scm.v1.ScmService/GetRepository"}
    (line,) = advice(config)
    assert line.startswith("GRPC_PUBLIC_METHODS has methods of ScmService")


def test_no_remark_repeats_a_secret() -> None:
    config = {"SECRET_KEY": "hush", "GRPC_AUTH_TOKENS": "hush,hushhush", "GRPC_HMAC_SECRETS": "hush"}
    lines = advice(config)
    assert len(lines) >= 4
    assert "hush" not in "".join(lines)


def test_the_command_prints_them_and_exits_with_1_for_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEB_CONCURRENCY", "4")
    result = echo_app(**{**SOUND, **SQLITE, "DEBUG": False}).test_cli_runner().invoke(args=["grpc", "check"])
    assert (result.exit_code, result.output.count("\n")) == (1, 1)
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
    app = echo_app(**SOUND)
    app.before_request(lambda: {}["secret"])
    (remark,) = findings(app, app.extensions["grpcweb_scm"].settings, {})
    assert remark == f"A preflight for {ECHO}Unary fails: KeyError in a hook of the app."
