"""Values of configuration keys, from Python or as the text of an environment variable: how each kind is read."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping
from typing import cast
from urllib.parse import urlsplit

from itsdangerous import BadData, URLSafeSerializer

from flask_grpcweb_scm.rpc import METHOD_NAME, Identity
from flask_grpcweb_scm.rpc.protocols import PROTOCOLS

__all__ = [
    "is_blank",
    "read_boolean",
    "read_boolean_or_only",
    "read_console_path",
    "read_count",
    "read_credentials",
    "read_host",
    "read_hosts",
    "read_method_names",
    "read_optional_bytes",
    "read_optional_count",
    "read_optional_path",
    "read_optional_seconds",
    "read_origins",
    "read_protocols",
    "read_proxy",
    "read_rates",
    "read_revoked_tokens",
    "read_seconds",
    "read_subdomain",
    "read_text",
    "read_texts",
    "read_tokens",
    "read_url_prefix",
    "read_webhooks",
]

_RATE = r"\s*[1-9][0-9]*\s*(?:/|per)\s*(?:[1-9][0-9]*\s*)?(?:second|minute|hour|day|month|year)s?\s*"
# As clients send it: of a name with other characters in Punycode, "xn--…".
_HOST = r"(?:[\w.-]+|\[[0-9a-f:]+\])(?::[0-9]+)?|"
# "The user-id and password MUST NOT contain any control characters" and "a user-id containing a colon character is
# invalid" (RFC 7617, section 2). Vendors' tokens have more characters than RFC 6750 gives them.
_CREDENTIALS = {
    "token": r"[\x21-\x7e]+",
    "user": r"[^:\x00-\x1f\x7f]+",
    "password": r"[^\x00-\x1f\x7f]+",
    "app_id": r"[A-Za-z0-9._-]+",
    "installation_id": r"[0-9]+",
    "private_key": r"[^\x00]+",
}
_SECRETS = ("token", "password", "private_key")
"""Any of these may be in a file, or in a variable of the environment: ``token_file``, ``token_env``."""
_KINDS = ({"token"}, {"user", "password"}, {"app_id", "private_key"}, {"app_id", "private_key", "installation_id"})
_PROXY = r"http://(?:[^\s/@:]+:[^\s/@]*@)?(?:[\w.-]+|\[[0-9a-f:]+\])(?::[0-9]{1,5})?/?"


# Also what editors and copying leave behind, quotes and brackets around nothing, and letters that nobody sees.
_HOLDING_NOTHING = frozenset(" ,;\"'[](){}\u115f\u1160\u2800\u3164\uffa0")
_TOKEN_ID = re.compile("[0-9a-f]{16}")


def _fail(value: object, expected: str) -> ValueError:
    return ValueError(f"{value!r} is not {expected}")


def is_blank(value: object) -> bool:
    """Return whether a value holds nothing, whatever its type: as text of an environment variable, or in lists."""
    if isinstance(value, str):
        return all(char in _HOLDING_NOTHING or not char.isprintable() for char in value)
    if isinstance(value, bytes):
        return is_blank(value.decode("latin-1"))
    if isinstance(value, Mapping | list | tuple | set | frozenset):
        return all(map(is_blank, value))
    return value is None


def read_boolean(value: object) -> bool:
    """Read a bool, or its text in an environment variable."""
    if isinstance(value, bool):
        return value
    text = str(value).strip().lower()
    if text not in {"true", "1", "yes", "on", "false", "0", "no", "off"}:
        raise _fail(value, "true or false")
    return text in {"true", "1", "yes", "on"}


def read_optional_boolean(value: object) -> bool | None:
    """Read a bool, or None for a default that depends on the app."""
    return None if value is None else read_boolean(value)


def read_boolean_or_only(value: object) -> bool | str:
    """Read a bool, or the text ``only``."""
    return "only" if value == "only" else read_boolean(value)


def read_boolean_or_watch(value: object) -> bool | str:
    """Read a bool, or the text ``watch``."""
    return "watch" if value == "watch" else read_boolean(value)


def _number(value: object, expected: str, minimum: float) -> float:
    try:
        number = float(value) if isinstance(value, str) else cast("float", value)
    except ValueError:
        raise _fail(value, expected) from None
    if isinstance(number, bool) or not isinstance(number, int | float) or not minimum <= number < float("inf"):
        raise _fail(value, expected)
    return number


def read_count(value: object) -> int:
    """Read a whole number of at least 1."""
    number = _number(value, "a whole number of at least 1", 1)
    if number != int(number):
        raise _fail(value, "a whole number of at least 1")
    return int(number)


def read_optional_count(value: object) -> int | None:
    """Read a whole number of at least 1, or None."""
    return None if value is None else read_count(value)


def read_optional_bytes(value: object) -> int | None:
    """Read a number of bytes, or None."""
    return None if value is None else int(_number(value, "a number of bytes, or None", 0))


def read_seconds(value: object) -> float:
    """Read a number of seconds above 0."""
    number = _number(value, "a number of seconds above 0", 0)
    if number == 0:
        raise _fail(value, "a number of seconds above 0")
    return number


def read_optional_seconds(value: object) -> float | None:
    """Read a number of seconds above 0, or None."""
    return None if value is None else read_seconds(value)


def read_texts(value: object) -> tuple[str, ...]:
    """Read a list of texts, or one text with commas between them."""
    if isinstance(value, str):
        value = [item.strip() for item in value.split(",")]
    if not isinstance(value, list | tuple | set | frozenset):
        raise _fail(type(value).__name__, "a list of texts, or one text with commas between them")
    for item in value:
        if not isinstance(item, str):
            # No values here: they may be credentials.
            raise ValueError(f"an item is {type(item).__name__}, not text; put it in quotes")
    return tuple(item for item in value if not is_blank(item))


def read_protocols(value: object) -> tuple[str, ...]:
    """Read the names of one or more protocols."""
    names = tuple(dict.fromkeys(name.lower() for name in read_texts(value)))
    if not names or not {*names} <= {*PROTOCOLS}:
        raise _fail(value, f"a list of {' and '.join(PROTOCOLS)}, or one of them")
    return names


def read_text(value: object) -> str:
    """Read a text of at least one character."""
    if not isinstance(value, str) or is_blank(value):
        raise _fail(type(value).__name__, "a text of at least one character")
    return value


def read_rates(value: object) -> Mapping[str, str]:
    """Read a mapping of methods to rates, or one rate for all of them."""
    rates: Mapping[str, str] = value if isinstance(value, Mapping) else {"*": cast("str", value)} if value else {}
    for rate in rates.values():
        if not isinstance(rate, str) or re.fullmatch(_RATE + rf"(?:;{_RATE})*", rate) is None:
            raise _fail(rate, "a rate such as '100/minute' or '10/second;1000/hour'")
    return rates


def read_url_prefix(value: object) -> str:
    """Read the beginning of a path, or nothing."""
    if not isinstance(value, str) or (value and re.fullmatch(r"(?:/[\w.~-]+)+", value) is None):
        raise _fail(value, "empty or a path such as '/rpc', without a slash at its end")
    return value


def read_host(value: object) -> str:
    """Read the host of a URL, or nothing; in lower case, and without the ports that werkzeug leaves out."""
    if not isinstance(value, str) or re.fullmatch(_HOST, value.lower(), re.ASCII) is None:
        raise _fail(value, "a host such as 'api.example.com' or 'localhost:5000', without a scheme or a path")
    return value.lower().removesuffix(":80").removesuffix(":443")


def read_subdomain(value: object) -> str:
    """Read what stands before the name of a server and a dot, or nothing; in lower case."""
    if not isinstance(value, str) or re.fullmatch(r"[\w-]+(?:\.[\w-]+)*|", value, re.ASCII) is None:
        raise _fail(value, "a subdomain such as 'api', without the domain")
    return value.lower()


def read_optional_path(value: object) -> str | None:
    """Read the path of a page."""
    if value is not None and (not isinstance(value, str) or re.fullmatch(r"(?:/[\w.~-]+)+", value) is None):
        raise _fail(value, "None or a path such as '/metrics', without a slash at its end")
    return value


def read_console_path(value: object) -> str | None:
    """Read the path of the console: empty for False, ``/_grpc`` for True; None: the default depends on the app."""
    if value is None or (isinstance(value, str) and value.startswith("/")):
        return read_optional_path(value)
    return "/_grpc" if read_boolean(value) else ""


def read_optional_file(value: object) -> str | None:
    """Read the name of a file, from the root: processes may have other folders."""
    if value is not None and (not isinstance(value, str) or not os.path.isabs(value)):
        raise _fail(value, "None or the absolute path of a file")
    return value


def read_method_names(value: object) -> tuple[str, ...]:
    """Read a list of methods, each ``pkg.Service/Method`` or ``pkg.Service/*``."""
    names = read_texts(value)
    for name in names:
        if METHOD_NAME.fullmatch(name) is None:
            raise _fail(name, "a method such as 'pkg.Service/Method', or 'pkg.Service/*'")
    return names


def read_origins(value: object) -> tuple[str, ...]:
    """Refuse patterns: Flask-CORS would read ``https://*.example`` as one that matches ``https://evilexample`` too."""
    origins = read_texts(value)
    for origin in origins:
        if origin != "*" and re.fullmatch(r"[a-z][a-z0-9+.-]*://[\w.-]+(?::[0-9]+)?", origin.lower(), re.ASCII) is None:
            raise _fail(origin, "'*' or an origin such as 'https://app.example', without a path or a pattern")
    return tuple(origin.lower() for origin in origins)


def read_tokens(value: object) -> Mapping[str, Identity]:
    """Read a list of tokens, text with commas, or a mapping of tokens to scopes."""
    scopes = value if isinstance(value, Mapping) else {token: {} for token in read_texts(value)}
    return {read_text(token): _scope(number, scope) for number, (token, scope) in enumerate(scopes.items(), 1)}


def _scope(number: int, scope: object) -> Identity:
    if not isinstance(scope, Mapping):
        raise ValueError(f"the scope of token {number} is not a mapping with 'organizations' and 'methods'")
    lists = {key: value for key, value in scope.items() if key != "name"}
    try:
        return Identity.of_scope(str(scope.get("name", f"token {number}")), lists)
    except ValueError as error:
        raise ValueError(f"the scope of token {number}: {error}") from None


def read_revoked_tokens(value: object) -> tuple[str, ...]:
    """Read a list of signed tokens, each itself or by its id; return the ids."""
    return tuple(_id_of_token(number, text.strip()) for number, text in enumerate(read_texts(value), 1))


def _id_of_token(number: int, text: str) -> str:
    if _TOKEN_ID.fullmatch(text.lower()):
        return text.lower()
    # Whoever signed it: the secret may be gone, and to revoke too much does no harm.
    try:
        claims = URLSafeSerializer("").loads_unsafe(text)[1]
    except (BadData, RecursionError):
        claims = None
    token_id = claims.get("id") if isinstance(claims, dict) else None
    if not isinstance(token_id, str) or _TOKEN_ID.fullmatch(token_id) is None:
        raise ValueError(
            f"item {number} is neither a signed token nor the id of one, which `flask grpc token inspect` prints;"
            " a token of GRPC_AUTH_TOKENS is revoked by taking it out there"
        )
    return token_id


def read_hosts(value: object) -> frozenset[str]:
    """Read a list of hosts, in lower case."""
    hosts = read_texts(value)
    for host in hosts:
        if re.fullmatch(r"[\w.-]+|[0-9a-f:]+", host, re.IGNORECASE) is None:
            raise _fail(host, "the name or the address of a host, without scheme, port or path")
    return frozenset(host.lower() for host in hosts)


def read_proxy(value: object) -> str:
    """Read the URL of a proxy, or nothing; a message does not repeat it, for it may have a password."""
    if not isinstance(value, str) or (value and not _is_proxy(value)):
        raise ValueError("it is not a URL such as 'http://proxy.example:3128' or 'http://user:password@10.0.0.1:3128'")
    return value


def _is_proxy(url: str) -> bool:
    if re.fullmatch(_PROXY, url, re.IGNORECASE | re.ASCII) is None:
        return False
    try:
        parts = urlsplit(url)
        port, host = parts.port, parts.hostname or ""  # which raise ValueError, too
        return port != 0 and (":" not in host or bool(ipaddress.IPv6Address(host)))
    except ValueError:
        return False


def read_credentials(value: object) -> Mapping[str, Mapping[str, str]]:
    """Read a mapping of names to tokens, to users with passwords, or to GitHub Apps with their keys."""
    if not isinstance(value, Mapping):
        raise _fail(type(value).__name__, "a mapping of names to tokens")
    return {read_text(name): _credential(name, credential) for name, credential in value.items()}


def _credential(name: str, value: object) -> Mapping[str, str]:
    """Read a token, by itself or in a mapping, a user with a password, or a GitHub App."""
    keys = {"token": value} if isinstance(value, str) else value
    places = {f"{secret}{place}": secret for secret in _SECRETS for place in ("", "_file", "_env")}
    named = [places.get(key, key) for key in keys] if isinstance(keys, Mapping) else []
    if not isinstance(keys, Mapping) or set(named) not in _KINDS or len(set(named)) < len(named):
        raise ValueError(
            f"{name!r} is neither a token nor a mapping with 'token', with 'user' and 'password', or with 'app_id' and"
            " 'private_key' of a GitHub App; a secret may be in a file or a variable: 'token_file', 'token_env'"
        )
    for key, text in keys.items():
        if key.endswith("_file") and (not isinstance(text, str) or not os.path.isabs(text)):
            raise ValueError(f"{key} of {name!r} is not the absolute path of a file")
        pattern = _CREDENTIALS.get(key, r"[^\x00]+")
        if isinstance(text, int) and key.endswith("_id"):
            text = str(text)
        if not isinstance(text, str) or re.fullmatch(pattern, text) is None:
            raise ValueError(f"{key} of {name!r} is empty, or has characters that it cannot have")
    return {key: str(text) for key, text in keys.items()}


def read_webhooks(value: object) -> Mapping[str, tuple[Mapping[str, str], ...]]:
    """Read a mapping of names to a secret or a list of secrets, each by itself or in a mapping with its place."""
    if not isinstance(value, Mapping):
        raise _fail(type(value).__name__, "a mapping of names to secrets")
    webhooks = {}
    for name, secrets in value.items():
        if not isinstance(name, str) or re.fullmatch(r"[\w.~@+-]{1,200}", name, re.ASCII) is None:
            raise _fail(name, "the name of a webhook: letters, digits and . ~ @ + - _, as they are in its path")
        each = secrets if isinstance(secrets, list | tuple) else [secrets]
        if not each:
            raise ValueError(f"{name!r} has no secret: whoever finds its path could send it anything")
        webhooks[name] = tuple(_webhook_secret(name, secret) for secret in each)
    return webhooks


def _webhook_secret(name: str, value: object) -> Mapping[str, str]:
    keys = {"secret": value} if isinstance(value, str) else value
    if not isinstance(keys, Mapping) or [*keys] not in (["secret"], ["secret_file"], ["secret_env"]):
        raise ValueError(
            f"{name!r} has something else than secrets: a text, or a mapping with 'secret', 'secret_file' or"
            " 'secret_env'"
        )
    ((key, text),) = keys.items()
    if not isinstance(text, str) or is_blank(text) or "\x00" in text:
        raise ValueError(f"{key} of {name!r} is empty: whoever finds its path could send it anything")
    if key == "secret_file" and not os.path.isabs(text):
        raise ValueError(f"{key} of {name!r} is not the absolute path of a file")
    return {key: text}
