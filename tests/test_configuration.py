"""Reading and checking the ``GRPC_*`` keys."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from flask import Flask

from flask_grpcweb_scm import ConfigError, Identity
from flask_grpcweb_scm.configuration import read_settings
from flask_grpcweb_scm.settings import Settings
from tests.apps import ECHO, echo_app


@pytest.mark.parametrize(
    ("key", "value", "field", "expected"),
    [
        ("GRPC_SCM", "false", "scm", False),
        ("GRPC_SCM", "On", "scm", True),
        ("GRPC_SCM", 0, "scm", False),
        ("GRPC_PROTOCOLS", "Connect", "protocols", ("connect",)),
        ("GRPC_PROTOCOLS", ["grpc-web", "connect", "grpc-web"], "protocols", ("grpc-web", "connect")),
        ("GRPC_URL_PREFIX", "/rpc/v1", "url_prefix", "/rpc/v1"),
        ("GRPC_HOST", "Api.example.com:8000", "host", "api.example.com:8000"),
        ("GRPC_HOST", "[::1]:8000", "host", "[::1]:8000"),
        ("GRPC_SUBDOMAIN", "Api.v1", "subdomain", "api.v1"),
        ("GRPC_REQUIRE_AUTH", True, "require_auth", True),
        ("GRPC_HMAC_SECRETS", "a, b,,c", "hmac_secrets", ("a", "b", "c")),
        ("GRPC_HMAC_SECRETS", ["a", "b,c"], "hmac_secrets", ("a", "b,c")),
        ("GRPC_HMAC_SECRETS", ["", "a", " "], "hmac_secrets", ("a",)),
        ("GRPC_PUBLIC_METHODS", ["a.B/C", "a.B/*"], "public_methods", ("a.B/C", "a.B/*")),
        ("GRPC_MAX_MESSAGE_BYTES", 1024, "max_message_bytes", 1024),
        ("GRPC_MAX_MESSAGE_BYTES", "1024", "max_message_bytes", 1024),
        ("GRPC_DEFAULT_TIMEOUT", 1.5, "default_timeout", 1.5),
        ("GRPC_DEFAULT_TIMEOUT", None, "default_timeout", None),
        ("GRPC_COMPRESSION_MIN_BYTES", 0, "compression_min_bytes", 0),
        ("GRPC_COMPRESSION_MIN_BYTES", None, "compression_min_bytes", None),
        ("GRPC_AUTH_TOKENS", "a,b", "auth_tokens", {"a": Identity("token 1"), "b": Identity("token 2")}),
        ("GRPC_AUTH_TOKENS", ["a"], "auth_tokens", {"a": Identity("token 1")}),
        ("GRPC_AUTH_TOKENS", {"a": {}}, "auth_tokens", {"a": Identity("token 1")}),
        (
            "GRPC_AUTH_TOKENS",
            {"a": {"name": "ci", "organizations": [1, "demo"], "methods": ["p.S/M"]}},
            "auth_tokens",
            {"a": Identity("ci", frozenset({1, "demo"}), frozenset({"p.S/M"}))},
        ),
        ("GRPC_AUTH_TOKENS", {"a": {"organizations": [], "methods": []}}, "auth_tokens", {"a": Identity("token 1")}),
        (
            "GRPC_AUTH_TOKENS",
            {"a": {"repositories": {7, "acme/shop"}, "projects": ("web",)}},
            "auth_tokens",
            {"a": Identity("token 1", repositories=frozenset({7, "acme/shop"}), projects=frozenset({"web"}))},
        ),
        ("GRPC_SCM_CREDENTIALS", {"github": "t"}, "scm_credentials", {"github": {"token": "t"}}),
        ("GRPC_SCM_CREDENTIALS", {"github": {"token": "t"}}, "scm_credentials", {"github": {"token": "t"}}),
        (
            "GRPC_SCM_CREDENTIALS",
            {"jira": {"user": "ann@example.com", "password": "pä ss"}},
            "scm_credentials",
            {"jira": {"user": "ann@example.com", "password": "pä ss"}},
        ),
        (
            "GRPC_SCM_CREDENTIALS",
            {"app": {"app_id": 1234, "private_key_file": "/run/app.pem"}, "bot": {"token_env": "BOT"}},
            "scm_credentials",
            {"app": {"app_id": "1234", "private_key_file": "/run/app.pem"}, "bot": {"token_env": "BOT"}},
        ),
        ("GRPC_SCM_PROXY", "http://u:p%40@proxy.example:3128", "scm_proxy", "http://u:p%40@proxy.example:3128"),
        ("GRPC_SCM_ALLOWED_HOSTS", "GHE.example, ::1", "scm_allowed_hosts", frozenset({"ghe.example", "::1"})),
    ],
)
def test_a_value_is_read(key: str, value: object, field: str, expected: object) -> None:
    assert getattr(read_settings({key: value}), field) == expected


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("GRPC_SCM", "maybe"),
        ("GRPC_SCM", None),
        ("GRPC_PROTOCOLS", ""),
        ("GRPC_PROTOCOLS", []),
        ("GRPC_PROTOCOLS", "http"),
        ("GRPC_PROTOCOLS", ["connect", "grpcweb"]),
        ("GRPC_PROTOCOLS", None),
        ("GRPC_URL_PREFIX", "rpc"),
        ("GRPC_URL_PREFIX", "/rpc/"),
        ("GRPC_URL_PREFIX", "/<a>"),
        ("GRPC_HOST", "https://api.example.com"),
        ("GRPC_HOST", "api.example.com/rpc"),
        ("GRPC_HOST", "<tenant>.example.com"),
        ("GRPC_HOST", "bücher.example.com"),
        ("GRPC_HOST", None),
        ("GRPC_SUBDOMAIN", "api."),
        ("GRPC_SUBDOMAIN", "<tenant>"),
        ("GRPC_SUBDOMAIN", "bücher"),
        ("GRPC_SUBDOMAIN", None),
        ("GRPC_HMAC_SECRETS", 7),
        ("GRPC_HMAC_SECRETS", [7]),
        ("GRPC_PUBLIC_METHODS", "/a.B/C"),
        ("GRPC_MAX_MESSAGE_BYTES", 0),
        ("GRPC_MAX_MESSAGE_BYTES", 1.5),
        ("GRPC_MAX_MESSAGE_BYTES", True),
        ("GRPC_MAX_MESSAGE_BYTES", "4 MiB"),
        ("GRPC_DEFAULT_TIMEOUT", 0),
        ("GRPC_DEFAULT_TIMEOUT", -1),
        ("GRPC_DEFAULT_TIMEOUT", float("inf")),
        ("GRPC_DEFAULT_TIMEOUT", float("nan")),
        ("GRPC_AUTH_TOKENS", 12345),
        ("GRPC_AUTH_TOKENS", [12345]),
        ("GRPC_AUTH_TOKENS", {"a": "all"}),
        ("GRPC_AUTH_TOKENS", {"a": {"organization": 1}}),
        ("GRPC_AUTH_TOKENS", {"a": {"organizations": "demo"}}),
        ("GRPC_AUTH_TOKENS", {"a": {"methods": ["C"]}}),
        ("GRPC_COMPRESSION_MIN_BYTES", -1),
        ("GRPC_SCM_CREDENTIALS", "t"),
        ("GRPC_SCM_CREDENTIALS", ["t"]),
        ("GRPC_SCM_CREDENTIALS", {"github": ""}),
        ("GRPC_SCM_CREDENTIALS", {"github": 7}),
        ("GRPC_SCM_CREDENTIALS", {"github": {"token": "a\r\nX: y"}}),
        ("GRPC_SCM_CREDENTIALS", {"github": "a b"}),
        ("GRPC_SCM_CREDENTIALS", {"github": "ü"}),
        ("GRPC_SCM_CREDENTIALS", {"github": {"user": "ann"}}),
        ("GRPC_SCM_CREDENTIALS", {"github": {"user": "a:b", "password": "p"}}),
        ("GRPC_SCM_CREDENTIALS", {"github": {"token": "t", "user": "ann", "password": "p"}}),
        ("GRPC_SCM_CREDENTIALS", {"github": {"token": "t", "token_env": "T"}}),
        ("GRPC_SCM_CREDENTIALS", {"github": {"token_file": "secrets/token"}}),
        ("GRPC_SCM_CREDENTIALS", {"github": {"token_url": "https://vault.example"}}),
        ("GRPC_SCM_CREDENTIALS", {"github": {"app_id": "1"}}),
        ("GRPC_SCM_CREDENTIALS", {"github": {"app_id": "1", "private_key": "k", "installation_id": "x"}}),
        ("GRPC_SCM_PROXY", "https://proxy.example"),
        ("GRPC_SCM_PROXY", "proxy.example:3128"),
        ("GRPC_SCM_PROXY", "http://proxy.example:99999"),
        ("GRPC_SCM_PROXY", "http://proxy.example:0"),
        ("GRPC_SCM_PROXY", "http://[:::::]:3128"),
        ("GRPC_SCM_PROXY", "http://proxy.example/path"),
        ("GRPC_SCM_ALLOWED_HOSTS", "https://ghe.example"),
        ("GRPC_SCM_ALLOWED_HOSTS", "ghe.example:8443"),
    ],
)
def test_a_value_that_cannot_work_is_refused_with_its_key(key: str, value: object) -> None:
    with pytest.raises(ConfigError, match=key):
        read_settings({key: value})


def test_credentials_are_not_in_error_texts_or_the_repr() -> None:
    settings = read_settings({"GRPC_AUTH_TOKENS": "hush", "GRPC_HMAC_SECRETS": "hush", "SECRET_KEY": "hush"})
    assert "hush" not in repr(settings)
    for value in ({"hush": 1}, {"hush": {"methods": "?"}}):
        with pytest.raises(ConfigError) as caught:
            read_settings({"GRPC_AUTH_TOKENS": value})
        assert "hush" not in str(caught.value)


MISSPELT = [
    ("GRPC_MAX_TIMOUT", "GRPC_MAX_TIMEOUT"),
    ("GRPC_TIMEOUT", "GRPC_MAX_TIMEOUT"),
    ("GRPC_CORS_ORIGIN", "GRPC_CORS_ORIGINS"),
    ("GRPC_IGNORE_KEYS", "GRPC_IGNORED_KEYS"),
    ("grpc_max_timeout", "GRPC_MAX_TIMEOUT"),
    ("GPRC_MAX_TIMEOUT", "GRPC_MAX_TIMEOUT"),
    ("RPC_MAX_TIMEOUT", "GRPC_MAX_TIMEOUT"),
    ("GRPCMAX_TIMEOUT", "GRPC_MAX_TIMEOUT"),
    ("FLASK_GRPC_MAX_TIMEOUT", "GRPC_MAX_TIMEOUT"),
]
MISSPELT_CREDENTIALS = [
    ("GRPC_AUTH_TOKEN", "GRPC_AUTH_TOKENS"),
    ("GRPC_TOKENS", "GRPC_AUTH_TOKENS"),
    ("GRPC_HMAC_SECRET", "GRPC_HMAC_SECRETS"),
    ("GRPC_REQUIRES_AUTH", "GRPC_REQUIRE_AUTH"),
    ("GRPC_REVOKED_TOKEN", "GRPC_REVOKED_TOKENS"),
    ("GRPC_PUBLIC_METHOD", "GRPC_PUBLIC_METHODS"),
    ("GRPC_CREDENTIALS", "GRPC_SCM_CREDENTIALS"),
    ("grpc_auth_tokens", "GRPC_AUTH_TOKENS"),
    ("GPRC_AUTH_TOKENS", "GRPC_AUTH_TOKENS"),
    ("GRP_AUTH_TOKEN", "GRPC_AUTH_TOKENS"),
    ("FLASK_GRPC_AUTH_TOKENS", "GRPC_AUTH_TOKENS"),
]


@pytest.mark.parametrize(("key", "meant"), MISSPELT)
def test_an_unknown_key_is_a_warning_with_the_nearest_name(key: str, meant: str) -> None:
    with pytest.warns(UserWarning, match=rf"key {key} is unknown; did you mean '{meant}'\?.* GRPC_IGNORED_KEYS"):
        read_settings({key: 1})


@pytest.mark.parametrize(("key", "meant"), MISSPELT_CREDENTIALS)
def test_an_unknown_key_that_is_about_credentials_is_an_error(key: str, meant: str) -> None:
    with pytest.raises(ConfigError, match=rf"key {key} is unknown; did you mean '{meant}'\?.* GRPC_IGNORED_KEYS"):
        read_settings({key: "a"})


def test_an_unknown_key_that_is_nothing_like_ours_has_no_hint() -> None:
    with pytest.warns(UserWarning, match=r"key GRPC_XYZ is unknown\. If another package"):
        read_settings({"GRPC_XYZ": 1})
    with pytest.raises(ConfigError, match="key GRPC_PASSWORD is unknown"):
        read_settings({"GRPC_PASSWORD": 1})


@pytest.mark.parametrize("key", [key for key, _ in MISSPELT + MISSPELT_CREDENTIALS] + ["GRPC_XYZ"])
@pytest.mark.parametrize("as_text", [True, False])
def test_the_key_of_another_package_can_be_named_as_such(key: str, as_text: bool) -> None:
    names = ["GRPC_XYZ", key]
    read_settings({key: "a", "GRPC_IGNORED_KEYS": ",".join(names) if as_text else names})


@pytest.mark.parametrize(
    "key",
    [
        "OTHER",
        "AUTH_TOKENS",
        "SCM_CREDENTIALS",
        "RATE_LIMITS",
        "MAX_TIMEOUT",
        "HTTP_MAX_TIMEOUT",
        "JWT_SECRETS",
        "GRPC",
    ],
)
def test_other_keys_are_not_ours(key: str) -> None:
    read_settings({key: "a"})


def test_the_keys_that_flask_has_itself_are_not_ours() -> None:
    read_settings(Flask(__name__).config)


@pytest.mark.parametrize(
    ("config", "required"),
    [
        ({}, False),
        ({"GRPC_AUTH_TOKENS": "a"}, True),
        ({"GRPC_HMAC_SECRETS": "a"}, True),
        ({"GRPC_HMAC_SECRETS": "a", "GRPC_REQUIRE_AUTH": False}, False),
        ({"GRPC_AUTH_TOKENS": "", "GRPC_REQUIRE_AUTH": False}, False),
    ],
)
def test_credentials_turn_authentication_on(config: dict[str, Any], required: bool) -> None:
    assert read_settings(config).require_auth is required


@pytest.mark.parametrize(("config", "required"), [({}, True), ({"GRPC_REQUIRE_AUTH": False}, False)])
def test_an_authenticator_turns_authentication_on(config: dict[str, Any], required: bool) -> None:
    assert read_settings(config, has_authenticator=True).require_auth is required


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"GRPC_REQUIRE_AUTH": True}, "nobody could get in"),
        ({"GRPC_REQUIRE_AUTH": True, "GRPC_PUBLIC_METHODS": ECHO[1:] + "Unary"}, "nobody could get in"),
        ({"GRPC_CORS_ORIGINS": "*", "GRPC_CORS_CREDENTIALS": True}, "list the origins"),
        ({"GRPC_PAGE_SIZE": 10, "GRPC_MAX_PAGE_SIZE": 5}, "GRPC_PAGE_SIZE 10 is over"),
        (
            {"GRPC_PUBLIC_METHODS": "tests.echo.v1.Echo/Unari"},
            "GRPC_PUBLIC_METHODS: no method 'tests.echo.v1.Echo/Unari' is served; did you mean",
        ),
        (
            {"GRPC_AUTH_TOKENS": {"a": {"methods": ["no.Such/*"]}}},
            "GRPC_AUTH_TOKENS: no method 'no.Such/[*]'",
        ),
    ],
)
def test_contradictions_are_refused_at_start(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        echo_app(**config)


def test_methods_that_are_served_may_be_named() -> None:
    echo_app(GRPC_PUBLIC_METHODS=[ECHO[1:] + "Unary", ECHO[1:] + "*"])


def test_page_tokens_are_signed_with_the_secret_key_unless_told_otherwise() -> None:
    assert read_settings({"SECRET_KEY": b"k", "SECRET_KEY_FALLBACKS": ["old"]}).page_token_secrets == (
        "k",
        "old",
    )
    assert read_settings({"SECRET_KEY": "k", "GRPC_PAGE_TOKEN_SECRETS": "p"}).page_token_secrets == ("p",)
    random = read_settings({}).page_token_secrets
    assert len(random[0]) == 64
    assert random != read_settings({}).page_token_secrets


@pytest.mark.parametrize("field", dataclasses.fields(Settings), ids=lambda field: field.name)
def test_every_key_has_a_meaning_and_a_default_that_passes_its_own_check(field: dataclasses.Field[Any]) -> None:
    assert field.metadata["meaning"].endswith(".")
    default = getattr(Settings(), field.name)
    assert field.metadata["check"](default) == default


def test_a_key_that_is_nested_in_the_environment_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLASK_GRPC__AUTH_TOKENS", "a")
    app = Flask(__name__)
    app.config.from_prefixed_env()
    with pytest.raises(ConfigError, match=r"key GRPC__AUTH_TOKENS is unknown; did you mean 'GRPC_AUTH_TOKENS'\?"):
        read_settings(app.config)


def test_keys_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLASK_GRPC_REQUIRE_AUTH", "true")
    monkeypatch.setenv("FLASK_GRPC_AUTH_TOKENS", "a,b")
    monkeypatch.setenv("FLASK_GRPC_MAX_MESSAGE_BYTES", "1000")
    monkeypatch.setenv("FLASK_GRPC_CORS_ORIGINS", '["https://a.example"]')
    app = Flask(__name__)
    app.config.from_prefixed_env()
    settings = read_settings(app.config)
    assert settings.require_auth is True
    assert list(settings.auth_tokens) == ["a", "b"]
    assert settings.max_message_bytes == 1000
    assert settings.cors_origins == ("https://a.example",)
