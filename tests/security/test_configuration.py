"""Configurations that would open more than they seem to, or show what is secret."""

from __future__ import annotations

import itertools
import logging
import warnings
from typing import Any

import pytest

from flask_grpcweb_scm import ConfigError, Identity
from flask_grpcweb_scm.auth import SignedTokens, TokenError
from flask_grpcweb_scm.cli.check import findings
from flask_grpcweb_scm.configuration import read_settings
from tests.apps import ECHO, echo_app
from tests.echo_pb2 import EchoRequest
from tests.grpcweb import call
from tests.security.support import TOKEN_SECRET
from tests.tables import check_rows

HUSH = "hush-7c1f9e"


@pytest.mark.parametrize(
    "scope",
    [
        {"organizations": 0},
        {"organizations": 7},
        {"organizations": False},
        {"organizations": [True]},
        {"organizations": ""},
        {"organizations": "demo"},
        {"organizations": b"demo"},
        {"organizations": [None]},
        {"organizations": {"demo": True}},
        {"methods": 0},
        {"methods": False},
        {"methods": b"p.S/M"},
        {"methods": "*"},
        {"methods": ""},
        {"methods": "p.S/M"},
        {"methods": [""]},
        {"methods": [None]},
        {"methods": {"p.S/M": True}},
        {"methods": ["p.S/M", 7]},
        {"organizations": [""]},
        {"organizations": ["demo", " "]},
        {"organizations": [1.0]},
        {"organizations": [2**64]},
        {"repositories": ""},
        {"repositories": "acme/shop"},
        {"repositories": [""]},
        {"repositories": 7},
        {"projects": ""},
        {"projects": b"web"},
        {"projects": [None]},
        {"organisations": [1]},
    ],
)
def test_a_scope_that_is_no_list_never_means_everything(scope: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="GRPC_AUTH_TOKENS"):
        read_settings({"GRPC_AUTH_TOKENS": {HUSH: scope}})
    if "organisations" in scope:
        return
    with pytest.raises(ValueError, match=r"organizations|repositories|projects|methods"):
        SignedTokens([HUSH]).issue("ci", expires_in=60, **scope)


def test_a_signed_token_with_such_a_scope_is_not_valid() -> None:
    """Whoever has the secret can sign anything; what is no list is not read as one."""
    tokens = SignedTokens([HUSH])
    good = {"id": "0" * 16, "name": "ci", "exp": 2**40, "organizations": [], "methods": []}
    bad: list[Any] = [
        *({"organizations": ""}, {"methods": ""}, {"methods": "p.S/M"}, {"organizations": "demo"}, {"projects": ""}),
        *({"repositories": 0}, {"teams": ["a"]}, {"exp": float("nan")}, {"exp": None}, {"exp": True}, {"id": 7}),
    ]
    for claims in ({}, *bad):
        token = tokens._serializer.dumps({**good, **claims})
        if not claims:
            assert tokens.read(token).identity.organizations is None
            continue
        with pytest.raises(TokenError, match="not valid"):
            tokens.read(token)
    for value in ([], "text", 7, None, {"id": "0" * 16}):
        with pytest.raises(TokenError, match="not valid"):
            tokens.read(tokens._serializer.dumps(value))


@pytest.mark.parametrize("value", ["", "demo", b"demo"])
@pytest.mark.parametrize("key", ["organizations", "methods", "repositories", "projects"])
def test_an_identity_takes_no_text_for_a_scope(key: str, value: Any) -> None:
    with pytest.raises(TypeError, match="not a text"):
        Identity(**{key: value})


KEYS = ["GRPC_AUTH_TOKENS", "GRPC_TOKEN_SECRETS", "GRPC_HMAC_SECRETS"]
EMPTY: list[Any] = [
    *(None, "", " ", ",", " , ,", "\n", "\0", "\xa0", "\ufeff", "\u200b,", b"", b" , ", [], (), set(), frozenset(), {}),
    *('""', "''", "[]", '[""]', "{}", "\u3000", "\xad", "\u200e", "\u2800", "\u3164", ";"),
    *([""], ["", " "], [None], [[]], ("",), {""}, [b""], [","], {"": {}}, {" ": {}}, {None: {}}, {"": None}),
]


@pytest.mark.parametrize("key", KEYS)
def test_credentials_that_are_set_but_empty_are_an_error_at_start(key: str) -> None:
    def check(value: Any, others: dict[str, Any]) -> None:
        with pytest.raises(ConfigError, match=rf"{key} is set, but holds nothing.* GRPC_REQUIRE_AUTH = False"):
            echo_app(**{**others, key: value})

    good = {other: HUSH for other in KEYS if other != key}
    settings = ({}, {"GRPC_REQUIRE_AUTH": True}, {"GRPC_PUBLIC_METHODS": ECHO[1:] + "*"}, good)
    check_rows(check, itertools.product(EMPTY, settings))


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("said", [False, "false", 0])
def test_unless_the_app_is_open_in_so_many_words(key: str, said: object) -> None:
    def check(value: Any) -> None:
        app = echo_app(**{key: value, "GRPC_REQUIRE_AUTH": said})
        settings = app.extensions["grpcweb_scm"].settings
        assert settings.require_auth is False
        assert f"{key} is set, but holds nothing; take it away." in findings(app, settings, {})

    check_rows(check, ((value,) for value in EMPTY))


@pytest.mark.parametrize("said", [None, "", "no way"])
def test_words_that_say_neither_are_an_error(said: object) -> None:
    with pytest.raises(ConfigError, match="GRPC_REQUIRE_AUTH"):
        echo_app(GRPC_AUTH_TOKENS="", GRPC_REQUIRE_AUTH=said)


@pytest.mark.parametrize("text", ["", " , ", "[]", '[""]', "{}", '{"": {}}', "null", '""'])
@pytest.mark.parametrize("key", KEYS)
def test_neither_does_the_environment_open_an_app(monkeypatch: pytest.MonkeyPatch, key: str, text: str) -> None:
    monkeypatch.setenv(f"FLASK_{key}", text)
    with pytest.raises(ConfigError, match=f"{key} is set, but holds nothing"):
        echo_app(prepare=lambda app: app.config.from_prefixed_env())


@pytest.mark.parametrize("value", [{"": {}, HUSH: {}}, {" ": {}, HUSH: {}}, [HUSH, None], [HUSH, b""]])
def test_an_empty_token_beside_a_good_one_is_refused_or_is_none(value: Any) -> None:
    with pytest.raises(ConfigError, match="GRPC_AUTH_TOKENS"):
        read_settings({"GRPC_AUTH_TOKENS": value})
    assert list(read_settings({"GRPC_AUTH_TOKENS": [HUSH, "", " "]}).auth_tokens) == [HUSH]


def test_a_revoked_token_is_named_by_itself_or_by_its_id() -> None:
    tokens = SignedTokens([TOKEN_SECRET])
    text, other = tokens.issue("ci", expires_in=60), tokens.issue("ci", expires_in=-60)
    ids = read_settings({"GRPC_REVOKED_TOKENS": ["A" * 16]}).revoked_tokens
    assert ids == ("a" * 16,)
    for revoked in (text, f" {text} ,{other}", [other, text], [SignedTokens([HUSH]).issue("x", expires_in=9), text]):
        app = echo_app(GRPC_TOKEN_SECRETS=TOKEN_SECRET, GRPC_REVOKED_TOKENS=revoked)
        assert call(app.test_client(), ECHO + "Unary", EchoRequest(), headers={"x-grpc-auth-token": text}).code == 16


@pytest.mark.parametrize(
    "revoked",
    ["abc", "g" * 16, "a" * 15, "a" * 17, "not.a.token", f"{HUSH}", "e30.x", "WzFd.x", ".eJw.x", [7], None, 7],
)
def test_what_is_no_token_cannot_be_revoked(revoked: Any) -> None:
    with pytest.raises(ConfigError, match="GRPC_REVOKED_TOKENS") as caught:
        read_settings({"GRPC_REVOKED_TOKENS": revoked})
    assert HUSH not in str(caught.value)


def test_a_fixed_token_is_not_revoked_there() -> None:
    token = "0123456789abcdef"
    with pytest.raises(ConfigError, match="revoked by taking it out there"):
        echo_app(GRPC_AUTH_TOKENS=[token], GRPC_REVOKED_TOKENS=[token])


@pytest.mark.parametrize("scope", [{}, {"organizations": [], "methods": []}, {"organizations": None, "methods": None}])
def test_an_absent_or_empty_scope_is_no_restriction(scope: dict[str, Any]) -> None:
    (identity,) = read_settings({"GRPC_AUTH_TOKENS": {"a": scope}}).auth_tokens.values()
    assert (identity.organizations, identity.methods) == (None, None)


@pytest.mark.parametrize(
    "config",
    [
        {"GRPC_AUTH_TOKENS": {HUSH: 1}},
        {"GRPC_AUTH_TOKENS": {HUSH: {"organizations": 1}}},
        {"GRPC_AUTH_TOKENS": {"ci": {HUSH: []}}},
        {"GRPC_AUTH_TOKENS": [HUSH, 1]},
        {"GRPC_AUTH_TOKENS": HUSH.encode()},
        {"GRPC_TOKEN_SECRETS": [HUSH, None]},
        {"GRPC_TOKEN_SECRETS": {HUSH: 1}},
        {"GRPC_HMAC_SECRETS": HUSH.encode()},
        {"GRPC_HMAC_SECRETS": [HUSH, b"x"]},
        {"GRPC_PAGE_TOKEN_SECRETS": [HUSH.encode()]},
        {"GRPC_RATE_LIMITS": "1/hour", "GRPC_RATE_LIMIT_STORAGE": f"nonesuch://:{HUSH}@127.0.0.1"},
    ],
)
def test_an_error_in_the_configuration_repeats_no_secret(
    config: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with pytest.raises((ConfigError, ValueError)) as caught:
        echo_app(**config)
    error: BaseException | None = caught.value
    assert "GRPC_" in str(error)
    while error is not None:  # what a traceback would print
        assert HUSH not in str(error)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    assert HUSH not in caplog.text


@pytest.mark.parametrize("key", ["GRPC_AUTH_TOKEN", "FLASK_GRPC_AUTH_TOKENS", "GRPC_PASSWORD"])
@pytest.mark.parametrize("value", [HUSH, [HUSH], {HUSH: {}}])
def test_neither_does_the_error_about_an_unknown_key(key: str, value: object) -> None:
    with pytest.raises(ConfigError, match=key) as caught:
        read_settings({key: value})
    assert HUSH not in str(caught.value)


def test_neither_does_the_repr_of_the_settings_or_a_warning() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        settings = read_settings(
            {
                "SECRET_KEY": HUSH,
                "GRPC_AUTH_TOKENS": HUSH,
                "GRPC_UNKNOWN": HUSH,
                "GRPC_TOKEN_SECRETS": HUSH,
                "GRPC_HMAC_SECRETS": HUSH,
                "GRPC_PAGE_TOKEN_SECRETS": HUSH,
                "GRPC_RATE_LIMIT_STORAGE": f"redis://:{HUSH}@127.0.0.1",
            }
        )
    assert len(caught) == 1
    assert HUSH not in repr(settings) + str(settings) + str(caught[0].message)
