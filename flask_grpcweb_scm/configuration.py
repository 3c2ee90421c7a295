"""The configuration of an app: its keys read and checked, with errors and warnings that say the way out."""

from __future__ import annotations

import dataclasses
import inspect
import os
import re
import secrets
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from flask_grpcweb_scm.config_values import is_blank
from flask_grpcweb_scm.rpc import did_you_mean, nearest
from flask_grpcweb_scm.settings import PREFIX, Settings, fields_by_key, names_of_method

__all__ = [
    "CREDENTIAL_KEYS",
    "ConfigError",
    "UnknownKey",
    "check_method_names",
    "check_settings",
    "empty_credentials",
    "read_settings",
    "unknown_keys",
    "warn",
]

CREDENTIAL_KEYS = ("GRPC_AUTH_TOKENS", "GRPC_TOKEN_SECRETS", "GRPC_HMAC_SECRETS")
"""Keys any of which turns authentication on."""
NEARLY_OURS = 0.9
"""Similarity of a key with another prefix, such as ``GPRC_AUTH_TOKENS``, to the key that was meant."""
_MAYBE_OURS = re.compile("(?:FLASK_)?[GRPC]{3}", re.IGNORECASE)
_CREDENTIALS = re.compile("AUTH|TOKEN|SECRET|HMAC|CREDENTIAL|PASSWORD|PUBLIC")
_PACKAGE = os.path.dirname(__file__) + os.sep


class ConfigError(Exception):
    """Raised for a configuration that cannot work; the text names the key, the value and the way out."""


def warn(message: str) -> None:
    """Warn of the configuration of an app, at the line of the app that has called this package."""
    level, frame = 1, inspect.currentframe()
    while frame and frame.f_code.co_filename.startswith(_PACKAGE):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, stacklevel=level)


def read_settings(config: Mapping[str, Any], *, has_authenticator: bool = False) -> Settings:
    """Read and check the keys of a Flask configuration.

    :raises ConfigError: for a value that cannot work, for credentials that are set but empty unless the app is open
        in so many words, and for an unknown key that is about credentials. Any other unknown key is a warning.
    """
    fields = {key: field for key, field in fields_by_key().items() if key in config}
    is_open = "GRPC_REQUIRE_AUTH" in fields and not _checked(
        "GRPC_REQUIRE_AUTH", fields["GRPC_REQUIRE_AUTH"], config["GRPC_REQUIRE_AUTH"]
    )
    for key in empty_credentials(config):
        if not is_open:
            raise ConfigError(
                f"{key} is set, but holds nothing, as a variable that is not set gives it: give it a value, or take"
                " the key away; GRPC_REQUIRE_AUTH = False says that the app is open on purpose"
            )
        del fields[key]
    values: dict[str, Any] = {field.name: _checked(key, field, config[key]) for key, field in fields.items()}
    for unknown in unknown_keys(config, values.get("ignored_keys", ())):
        if unknown.is_about_credentials:
            raise ConfigError(unknown.message)
        warn(unknown.message)
    if has_authenticator or any(values.get(name) for name in ("auth_tokens", "token_secrets", "hmac_secrets")):
        values.setdefault("require_auth", True)
    if not values.get("page_token_secrets"):
        values["page_token_secrets"] = _default_page_token_secrets(config)
    return Settings(**values)


def check_settings(
    settings: Settings, method_paths: Collection[str], guarded: Collection[str], *, has_authenticator: bool
) -> None:
    """Check keys against each other and against the served methods.

    :param method_paths: of the served methods, as ``/pkg.Service/Method``.
    :param guarded: those that credentials may be needed for.
    :raises ConfigError: when keys contradict each other or name methods that are not served.
    """
    has_credentials = settings.auth_tokens or settings.token_secrets or settings.hmac_secrets or has_authenticator
    if settings.require_auth and not (has_credentials or settings.are_public(guarded)):
        raise ConfigError(
            "GRPC_REQUIRE_AUTH is on, but nobody could get in: set GRPC_AUTH_TOKENS, GRPC_TOKEN_SECRETS or"
            " GRPC_HMAC_SECRETS, or pass GrpcWebScm(authenticate=…); or open all methods in GRPC_PUBLIC_METHODS"
        )
    if "*" in settings.cors_origins and settings.cors_credentials:
        raise ConfigError("GRPC_CORS_ORIGINS: '*' cannot be combined with credentials; list the origins")
    if settings.page_size > settings.max_page_size:
        raise ConfigError(f"GRPC_PAGE_SIZE {settings.page_size} is over GRPC_MAX_PAGE_SIZE {settings.max_page_size}")
    if not settings.auth_tokens.keys().isdisjoint(settings.revoked_tokens):
        raise ConfigError(
            "GRPC_REVOKED_TOKENS has a token of GRPC_AUTH_TOKENS, which is revoked by taking it out there"
        )
    scoped = {name for identity in settings.auth_tokens.values() for name in identity.methods or ()}
    check_method_names("GRPC_PUBLIC_METHODS", settings.public_methods, method_paths)
    check_method_names("GRPC_AUTH_TOKENS", scoped, method_paths)
    check_method_names("GRPC_RATE_LIMITS", set(settings.rate_limits) - {"*"}, method_paths)


def check_method_names(key: str, names: Iterable[str], method_paths: Iterable[str]) -> None:
    """Check that names such as ``pkg.Service/Method`` and ``pkg.Service/*`` are of methods that are served.

    :raises ConfigError: for the first one that is not, naming `key`.
    """
    served = {name for path in method_paths for name in names_of_method(path)}
    for name in sorted(set(names) - served):
        raise ConfigError(f"{key}: no method {name!r} is served{did_you_mean(name, served)}")


def empty_credentials(config: Mapping[str, Any]) -> list[str]:
    """Return the keys of credentials that are set, and hold none."""
    return [key for key in CREDENTIAL_KEYS if key in config and is_blank(config[key])]


def _checked(key: str, field: dataclasses.Field[Any], value: object) -> object:
    try:
        return field.metadata["check"](value)
    except ValueError as error:
        raise ConfigError(f"{key}: {error}. {field.metadata['meaning']}") from None


def _default_page_token_secrets(config: Mapping[str, Any]) -> tuple[str, ...]:
    keys = [config.get("SECRET_KEY"), *(config.get("SECRET_KEY_FALLBACKS") or ())]
    texts = tuple(key.decode("latin-1") if isinstance(key, bytes) else key for key in keys if key)
    return texts or (secrets.token_hex(32),)


# Keys that nobody reads


class UnknownKey(NamedTuple):
    """A key of a configuration that is none of ours, and looks as if it was meant to be."""

    message: str
    is_about_credentials: bool


def unknown_keys(config: Mapping[str, Any], ignored: Collection[str]) -> Iterator[UnknownKey]:
    """Find the keys that nobody reads: with the prefix ``GRPC_``, or with another one and nearly one of ours.

    :param ignored: keys of other packages.
    """
    ours = fields_by_key().keys()
    known = {key.removeprefix(PREFIX) for key in ours}
    # Flask makes {"GRPC": {"AUTH_TOKENS": …}} of FLASK_GRPC__AUTH_TOKENS.
    nested = config.get("GRPC")
    keys = [*config, *(f"{PREFIX}_{key}" for key in nested)] if isinstance(nested, Mapping) else [*config]
    for key in sorted(filter(_MAYBE_OURS.match, {*keys} - {*ours} - {*ignored})):
        if key.upper().startswith(PREFIX):
            near = nearest(key.upper().removeprefix(PREFIX).strip("_"), known)
        else:
            meant = nearest(key.upper().removeprefix("FLASK_"), ours, NEARLY_OURS)
            if meant is None:
                continue
            near = meant.removeprefix(PREFIX)
        hint = f"; did you mean {PREFIX + near!r}?" if near else "."
        message = f"configuration key {key} is unknown{hint} If another package reads it, name it in GRPC_IGNORED_KEYS."
        yield UnknownKey(message, _CREDENTIALS.search(f"{key.upper()} {near}") is not None)
