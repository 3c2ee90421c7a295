"""The ``GRPC_*`` configuration keys: the only list of them, with defaults, meanings and checks."""

from __future__ import annotations

import dataclasses
import re
import secrets
import warnings
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, cast

from flask_grpcweb_scm.rpc import Identity, did_you_mean

__all__ = ["ConfigError", "Settings", "check_method_names"]

PREFIX = "GRPC_"
_RATE = r"\s*[1-9][0-9]*\s*(?:/|per)\s*(?:[1-9][0-9]*\s*)?(?:second|minute|hour|day|month|year)s?\s*"
# "The user-id and password MUST NOT contain any control characters" and "a user-id containing a colon character is
# invalid" (RFC 7617, section 2). Vendors' tokens have more characters than RFC 6750 gives them.
_CREDENTIALS = {"token": r"[\x21-\x7e]+", "user": r"[^:\x00-\x1f\x7f]+", "password": r"[^\x00-\x1f\x7f]+"}


class ConfigError(Exception):
    """Raised for a configuration that cannot work; the text names the key, the value and the way out."""


def _fail(value: object, expected: str) -> ValueError:
    return ValueError(f"{value!r} is not {expected}")


def _boolean(value: object) -> bool:
    """Read a bool, or its text in an environment variable."""
    if isinstance(value, bool):
        return value
    text = str(value).strip().lower()
    if text not in {"true", "1", "yes", "on", "false", "0", "no", "off"}:
        raise _fail(value, "true or false")
    return text in {"true", "1", "yes", "on"}


def _boolean_or_only(value: object) -> bool | str:
    return "only" if value == "only" else _boolean(value)


def _number(value: object, expected: str, minimum: float) -> float:
    try:
        number = float(value) if isinstance(value, str) else cast("float", value)
    except ValueError:
        raise _fail(value, expected) from None
    if isinstance(number, bool) or not isinstance(number, int | float) or not minimum <= number < float("inf"):
        raise _fail(value, expected)
    return number


def _count(value: object) -> int:
    number = _number(value, "a whole number of at least 1", 1)
    if number != int(number):
        raise _fail(value, "a whole number of at least 1")
    return int(number)


def _optional_count(value: object) -> int | None:
    return None if value is None else _count(value)


def _optional_bytes(value: object) -> int | None:
    return None if value is None else int(_number(value, "a number of bytes, or None", 0))


def _seconds(value: object) -> float:
    number = _number(value, "a number of seconds above 0", 0)
    if number == 0:
        raise _fail(value, "a number of seconds above 0")
    return number


def _optional_seconds(value: object) -> float | None:
    return None if value is None else _seconds(value)


def _texts(value: object) -> tuple[str, ...]:
    """Read a list of texts, or one text with commas between them."""
    if isinstance(value, str):
        value = [item.strip() for item in value.split(",")]
    if not isinstance(value, list | tuple | set | frozenset):
        raise _fail(type(value).__name__, "a list of texts, or one text with commas between them")
    for item in value:
        if not isinstance(item, str):
            # No values here: they may be credentials.
            raise ValueError(f"an item is {type(item).__name__}, not text; put it in quotes")
    return tuple(item for item in value if item)


def _text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise _fail(type(value).__name__, "a text of at least one character")
    return value


def _rates(value: object) -> Mapping[str, str]:
    rates: Mapping[str, str] = value if isinstance(value, Mapping) else {"*": cast("str", value)} if value else {}
    for rate in rates.values():
        if not isinstance(rate, str) or re.fullmatch(_RATE + rf"(?:;{_RATE})*", rate) is None:
            raise _fail(rate, "a rate such as '100/minute' or '10/second;1000/hour'")
    return rates


def _url_prefix(value: object) -> str:
    if not isinstance(value, str) or (value and re.fullmatch(r"(?:/[\w.~-]+)+", value) is None):
        raise _fail(value, "empty or a path such as '/rpc', without a slash at its end")
    return value


def _method_names(value: object) -> tuple[str, ...]:
    names = _texts(value)
    for name in names:
        if re.fullmatch(r"[\w.]+/(?:\w+|\*)", name) is None:
            raise _fail(name, "a method such as 'pkg.Service/Method', or 'pkg.Service/*'")
    return names


def _origins(value: object) -> tuple[str, ...]:
    """Refuse patterns: Flask-CORS would read ``https://*.example`` as one that matches ``https://evilexample`` too."""
    origins = _texts(value)
    for origin in origins:
        if origin != "*" and re.fullmatch(r"[a-z][a-z0-9+.-]*://[\w.-]+(?::[0-9]+)?", origin.lower(), re.ASCII) is None:
            raise _fail(origin, "'*' or an origin such as 'https://app.example', without a path or a pattern")
    return tuple(origin.lower() for origin in origins)


def _tokens(value: object) -> Mapping[str, Identity]:
    """Read a list of tokens, text with commas, or a mapping of tokens to scopes."""
    scopes = value if isinstance(value, Mapping) else {token: {} for token in _texts(value)}
    return {_text(token): _scope(number, scope) for number, (token, scope) in enumerate(scopes.items(), 1)}


def _scope(number: int, scope: object) -> Identity:
    if not isinstance(scope, Mapping):
        raise ValueError(f"the scope of token {number} is not a mapping with 'organizations' and 'methods'")
    if set(scope) - {"name", "organizations", "methods"}:
        # Without the key: in a mapping of names to tokens it is a token.
        raise ValueError(f"the scope of token {number} has keys besides organizations, methods and name")
    # None and an empty list mean all; a value that is neither must not be read as one.
    organizations, methods = scope.get("organizations"), scope.get("methods")
    return Identity(
        name=str(scope.get("name", f"token {number}")),
        organizations=None if organizations is None else _organizations(number, organizations),
        methods=None if methods is None else frozenset(_method_names(methods)) or None,
    )


def _organizations(number: int, value: object) -> frozenset[int | str] | None:
    if not isinstance(value, list | tuple | set | frozenset) or not all(type(item) in {int, str} for item in value):
        raise ValueError(f"organizations of token {number} are not a list of ids or slugs")
    return frozenset(value) or None


def _hosts(value: object) -> frozenset[str]:
    hosts = _texts(value)
    for host in hosts:
        if re.fullmatch(r"[\w.-]+|[0-9a-f:]+", host, re.IGNORECASE) is None:
            raise _fail(host, "the name or the address of a host, without scheme, port or path")
    return frozenset(host.lower() for host in hosts)


def _credentials(value: object) -> Mapping[str, Mapping[str, str]]:
    if not isinstance(value, Mapping):
        raise _fail(type(value).__name__, "a mapping of names to tokens")
    return {_text(name): _credential(name, credential) for name, credential in value.items()}


def _credential(name: str, value: object) -> Mapping[str, str]:
    """Read a token, by itself or in a mapping, or a user with a password."""
    keys = {"token": value} if isinstance(value, str) else value
    if not isinstance(keys, Mapping) or set(keys) not in ({"token"}, {"user", "password"}):
        raise ValueError(f"{name!r} is neither a token nor a mapping with 'token', or with 'user' and 'password'")
    for key, text in keys.items():
        if not isinstance(text, str) or re.fullmatch(_CREDENTIALS[key], text) is None:
            raise ValueError(f"{key} of {name!r} is empty, or has characters that it cannot have")
    return dict(keys)


def _key(default: object, check: Callable[[Any], object], meaning: str, *, secret: bool = False) -> Any:
    metadata = {"check": check, "meaning": meaning}
    if callable(default):
        return dataclasses.field(default_factory=default, repr=not secret, metadata=metadata)
    return dataclasses.field(default=default, repr=not secret, metadata=metadata)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """Values of the ``GRPC_*`` keys; the field ``max_message_bytes`` is the key ``GRPC_MAX_MESSAGE_BYTES``.

    ``repr()`` shows no secrets.
    """

    scm: bool = _key(True, _boolean, "Serve `sentry.integrations.scm.v1.ScmService`.")
    url_prefix: str = _key("", _url_prefix, "Path before `/{package.Service}/{Method}`, such as `/rpc`.")

    require_auth: bool = _key(
        False, _boolean, "Refuse calls without credentials. True by itself once tokens or secrets are configured."
    )
    auth_tokens: Mapping[str, Identity] = _key(
        dict, _tokens, "Accepted tokens: a list, a text with commas, or a mapping of token to scope.", secret=True
    )
    token_secrets: tuple[str, ...] = _key(
        (), _texts, "Secrets of the tokens that `flask grpc token issue` makes, newest first.", secret=True
    )
    revoked_tokens: tuple[str, ...] = _key((), _texts, "Ids of such tokens that are no longer valid.")
    hmac_secrets: tuple[str, ...] = _key(
        (), _texts, "Secrets of signed requests, any of which may match: a list or a text with commas.", secret=True
    )
    hmac_max_age: float = _key(300, _seconds, "Seconds that `X-Timestamp` of a signed request may be off.")
    hmac_require_timestamp: bool = _key(False, _boolean, "Refuse signed requests without `X-Timestamp`.")
    public_methods: tuple[str, ...] = _key(
        (), _method_names, "Methods open to callers without credentials: `pkg.Service/Method` or `pkg.Service/*`."
    )

    cors_origins: tuple[str, ...] = _key(
        (), _origins, "Origins whose pages may call, such as `https://app.example`; needs the extra `cors`."
    )
    cors_credentials: bool = _key(False, _boolean, "Let those pages send cookies.")
    cors_max_age: float = _key(7200, _seconds, "Seconds that a browser may cache the response to a preflight.")

    rate_limits: Mapping[str, str] = _key(
        dict,
        _rates,
        "Calls per caller and method, such as `100/minute`, or a mapping of `pkg.Service/Method`, `pkg.Service/*` and"
        " `*` to such; needs the extra `ratelimit`.",
    )
    rate_limit_storage: str = _key(
        "memory://",
        _text,
        "Where calls are counted, as a URI of `limits`, such as `redis://…`; memory is per process.",
        secret=True,  # such a URI may have a password
    )
    max_streams: int | None = _key(None, _optional_count, "Streams that a caller may have open at a time, per process.")

    max_message_bytes: int = _key(4 * 2**20, _count, "Longest request message in bytes, also after decompression.")
    max_response_bytes: int | None = _key(None, _optional_count, "Longest response message in bytes.")
    max_metadata_bytes: int = _key(16 * 2**10, _count, "Longest request metadata in bytes, names and values together.")
    max_json_depth: int = _key(
        100, _count, "Deepest nesting of messages in a JSON request; protobuf itself allows 100."
    )
    default_timeout: float | None = _key(None, _optional_seconds, "Seconds for calls without a deadline.")
    max_timeout: float | None = _key(None, _optional_seconds, "Seconds that no call may exceed, whatever its timeout.")
    compression_min_bytes: int | None = _key(
        1024, _optional_bytes, "Compress responses from this size in bytes, when the caller accepts it; None: never."
    )
    status_header: bool | str = _key(
        True,
        _boolean_or_only,
        "Repeat `grpc-status: 0` in the HTTP headers of unary responses to clients without `X-Grpc-Web`. `only`: leave"
        " the trailers frame out for those that send no header of gRPC-Web but the content type.",
    )

    fast_lane: bool = _key(
        True, _boolean, "Serve calls without Flask's request machinery while no hook of the app needs it."
    )

    page_size: int = _key(50, _count, "Rows of a page when the request names no size.")
    max_page_size: int = _key(1000, _count, "Most rows of a page.")
    page_token_secrets: tuple[str, ...] = _key(
        (), _texts, "Secrets that sign page tokens, newest first. Default: `SECRET_KEY`, else random.", secret=True
    )
    page_token_max_age: float = _key(86400, _seconds, "Seconds that a page token is valid.")
    git_timeout: float = _key(30, _seconds, "Seconds that one run of git may take, deadline or not.")
    tracker_timeout: float = _key(30, _seconds, "Seconds that trackers may take for one call, deadline or not.")
    scm_credentials: Mapping[str, Mapping[str, str]] = _key(
        dict,
        _credentials,
        "Credentials for trackers, which integrations name: a mapping of name to token, or to `user` and `password`.",
        secret=True,
    )
    scm_allowed_hosts: frozenset[str] = _key(
        frozenset, _hosts, "Hosts of trackers that may have private addresses, and plain `http`."
    )
    blame_cache_bytes: int = _key(
        16 * 2**20, _count, "Memory in bytes, per process, for the commits that last changed a line."
    )
    tree_cache_bytes: int = _key(
        256 * 2**20,
        _count,
        "Memory in bytes, per process, for the names of source files that code mappings are derived from: about 40 MiB"
        " for 400 000 files.",
    )

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Settings:
        """Read and check the keys of a Flask configuration.

        :raises ConfigError: for a value that cannot work. An unknown ``GRPC_`` key is a warning.
        """
        fields = {PREFIX + field.name.upper(): field for field in dataclasses.fields(cls)}
        _warn_unknown({key for key in config if key.startswith(PREFIX)} - set(fields), list(fields))
        values: dict[str, Any] = {
            field.name: _checked(key, field, config[key]) for key, field in fields.items() if key in config
        }
        if any(values.get(name) for name in ("auth_tokens", "token_secrets", "hmac_secrets")):
            values.setdefault("require_auth", True)
        if not values.get("page_token_secrets"):
            values["page_token_secrets"] = _default_page_token_secrets(config)
        return cls(**values)

    def check(self, method_paths: Collection[str], *, has_authenticator: bool) -> None:
        """Check keys against each other and against the served methods.

        :param method_paths: of the served methods, as ``/pkg.Service/Method``.
        :raises ConfigError: when keys contradict each other or name methods that are not served.
        """
        if self.require_auth and not (self.auth_tokens or self.token_secrets or self.hmac_secrets or has_authenticator):
            raise ConfigError(
                "GRPC_REQUIRE_AUTH is on, but nobody could get in: set GRPC_AUTH_TOKENS, GRPC_TOKEN_SECRETS or"
                " GRPC_HMAC_SECRETS, or pass GrpcWebScm(authenticate=…)"
            )
        if "*" in self.cors_origins and self.cors_credentials:
            raise ConfigError("GRPC_CORS_ORIGINS: '*' cannot be combined with credentials; list the origins")
        if self.page_size > self.max_page_size:
            raise ConfigError(f"GRPC_PAGE_SIZE {self.page_size} is over GRPC_MAX_PAGE_SIZE {self.max_page_size}")
        scoped = {name for identity in self.auth_tokens.values() for name in identity.methods or ()}
        check_method_names("GRPC_PUBLIC_METHODS", self.public_methods, method_paths)
        check_method_names("GRPC_AUTH_TOKENS", scoped, method_paths)
        check_method_names("GRPC_RATE_LIMITS", set(self.rate_limits) - {"*"}, method_paths)


def check_method_names(key: str, names: Iterable[str], method_paths: Iterable[str]) -> None:
    """Check that names such as ``pkg.Service/Method`` and ``pkg.Service/*`` are of methods that are served.

    :raises ConfigError: for the first one that is not, naming `key`.
    """
    served = {path[1:] for path in method_paths}
    served |= {name.partition("/")[0] + "/*" for name in served}
    for name in sorted(set(names) - served):
        raise ConfigError(f"{key}: no method {name!r} is served{did_you_mean(name, served)}")


def _checked(key: str, field: dataclasses.Field[Any], value: object) -> object:
    try:
        return field.metadata["check"](value)
    except ValueError as error:
        raise ConfigError(f"{key}: {error}. {field.metadata['meaning']}") from None


def _warn_unknown(unknown: set[str], known: list[str]) -> None:
    for key in sorted(unknown):
        warnings.warn(f"configuration key {key} is unknown{did_you_mean(key, known)}", stacklevel=4)


def _default_page_token_secrets(config: Mapping[str, Any]) -> tuple[str, ...]:
    keys = [config.get("SECRET_KEY"), *(config.get("SECRET_KEY_FALLBACKS") or ())]
    texts = tuple(key.decode("latin-1") if isinstance(key, bytes) else key for key in keys if key)
    return texts or (secrets.token_hex(32),)
