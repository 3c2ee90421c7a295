"""Configurations that would open more than they seem to, or show what is secret."""

from __future__ import annotations

import logging
import warnings
from typing import Any

import pytest

from flask_grpcweb_scm import ConfigError
from flask_grpcweb_scm.settings import Settings
from tests.apps import echo_app

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
        {"organisations": [1]},
    ],
)
def test_a_scope_that_is_no_list_never_means_everything(scope: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="GRPC_AUTH_TOKENS"):
        Settings.from_config({"GRPC_AUTH_TOKENS": {HUSH: scope}})


def test_an_empty_token_is_refused() -> None:
    with pytest.raises(ConfigError, match="GRPC_AUTH_TOKENS"):
        Settings.from_config({"GRPC_AUTH_TOKENS": {"": {}}})


@pytest.mark.parametrize("scope", [{}, {"organizations": [], "methods": []}, {"organizations": None, "methods": None}])
def test_an_absent_or_empty_scope_is_no_restriction(scope: dict[str, Any]) -> None:
    (identity,) = Settings.from_config({"GRPC_AUTH_TOKENS": {"a": scope}}).auth_tokens.values()
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
        Settings.from_config({key: value})
    assert HUSH not in str(caught.value)


def test_neither_does_the_repr_of_the_settings_or_a_warning() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        settings = Settings.from_config(
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
