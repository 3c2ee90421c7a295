"""Attacks on one guarded app: each is refused with its status, and no service function runs."""

from __future__ import annotations

import base64
import gzip
import hashlib
import struct
from typing import Any

import jwt
import pytest
from flask.sessions import SecureCookieSessionInterface
from itsdangerous import URLSafeSerializer, URLSafeTimedSerializer

from flask_grpcweb_scm.configuration import read_settings
from flask_grpcweb_scm.scm.queries.paging import write_page_token
from tests.apps import ECHO
from tests.grpcweb import JSON, PROTO, TEXT, frame, read
from tests.protocols import call, every_protocol_in_protobuf, framed, protocol  # noqa: F401  # a fixture
from tests.security.support import (
    CONFIG,
    EXPIRED,
    FOREIGN,
    FULL,
    HMAC_SECRET,
    MESSAGE,
    NARROW,
    NOW,
    OTHER_SECRET,
    REVOKED,
    SECRET_KEY,
    SIGNED,
    SIGNED_NARROW,
    STREAM,
    TOKEN_SECRET,
    UNARY,
    WINDOW,
    guarded_app,
    signature,
    signed,
)
from tests.tables import check_rows

TOKEN = "x-grpc-auth-token"
PAYLOAD, _, MAC = SIGNED.rpartition(".")
CLAIMS = {"id": "0" * 16, "name": "root", "exp": NOW + 3600, "organizations": [], "methods": []}
HMAC = {"key_derivation": "hmac", "digest_method": hashlib.sha256}
CONCATENATED = {"digest_method": hashlib.sha256}
SALT = "flask_grpcweb_scm.token"
BOMB = gzip.compress(b"\0" * 10_000_000, 1)


def token(text: str) -> dict[str, str]:
    return {TOKEN: text}


def without(headers: dict[str, str], *names: str) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name not in names}


def session_cookie() -> str:
    app = guarded_app([])
    serializer = SecureCookieSessionInterface().get_signing_serializer(app)
    assert serializer is not None
    return str(serializer.dumps(CLAIMS))


def page_token() -> str:
    # The same secret for both, as careless as it gets.
    settings = read_settings({"GRPC_PAGE_TOKEN_SECRETS": [TOKEN_SECRET]})
    return write_page_token(["ListRepositories", 1, 0, ""], ("a", 1), settings)


def base64url(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


# name, headers, status; the request is a good one otherwise.
CREDENTIALS: list[tuple[str, dict[str, str], int]] = [
    ("forged: no credentials", {}, 16),
    ("forged: a token nobody issued", token("x" * len(FULL)), 16),
    ("forged: a token in other case", token(FULL.upper()), 16),
    ("forged: a signed token with claims of one's own", token(f"{base64url(str(CLAIMS))}.{MAC}"), 16),
    ("forged: the MAC of a wide token on a narrow one", token(f"{SIGNED_NARROW.rpartition('.')[0]}.{MAC}"), 16),
    ("forged: the first byte of the MAC changed", token(f"{PAYLOAD}.{'B' if MAC[0] == 'A' else 'A'}{MAC[1:]}"), 16),
    ("forged: an empty MAC", token(f"{PAYLOAD}."), 16),
    ("forged: no payload", token(f".{MAC}"), 16),
    ("forged: signature of zeros", {**signed(), "x-signature": "0" * 64}, 16),
    ("forged: signature without a method", without(signed(), "x-method"), 16),
    ("forged: X-Body says what was signed, the message is another",
     {**signed(b"other"), "x-body": b"other".hex()}, 16),
    ("forged: X-Body of the message, signature of another", {**signed(b"other"), "x-body": MESSAGE.hex()}, 16),
    ("forged: X-Body that is not hex", {**signed(), "x-body": "zz"}, 16),
    ("wrong key: signed token of another secret", token(FOREIGN), 16),
    ("wrong key: signed request of another secret", signed(secret=OTHER_SECRET), 16),
    ("wrong key: the empty secret", signed(secret=""), 16),
    ("wrong key: the secret of tokens signs a request", signed(secret=TOKEN_SECRET), 16),
    ("wrong key: SECRET_KEY signs a request", signed(secret=SECRET_KEY), 16),
    ("wrong key: the secret of requests as a token", token(HMAC_SECRET), 16),
    ("wrong key: the secret of tokens as a token", token(TOKEN_SECRET), 16),
    ("wrong key: the digest of a token", token(hashlib.sha256(FULL.encode()).hexdigest()), 16),
    ("replayed: an expired token", token(EXPIRED), 16),
    ("replayed: a revoked token", token(REVOKED), 16),
    ("replayed: before the window", signed(timestamp=NOW - WINDOW - 1), 16),
    ("replayed: after the window", signed(timestamp=NOW + 86400), 16),
    ("replayed: at the beginning of time", signed(timestamp=0), 16),
    ("replayed: with a new timestamp", {**signed(timestamp=NOW - WINDOW - 1), "x-timestamp": str(NOW)}, 16),
    ("truncated: a token without its end", token(FULL[:-1]), 16),
    ("truncated: a token's first character", token(FULL[0]), 16),
    ("truncated: a signed token without its end", token(SIGNED[:-1]), 16),
    ("truncated: only the payload of a signed token", token(PAYLOAD), 16),
    ("truncated: half a signature", {**signed(), "x-signature": signature()[:32]}, 16),
    ("truncated: a signature and more", {**signed(), "x-signature": signature() + "00"}, 16),
    ("re-targeted: signed for another method", signed(path=STREAM), 16),
    ("re-targeted: signed for another method, sent as this", {**signed(path=STREAM), "x-method": UNARY}, 16),
    ("re-targeted: the path in other case", {**signed(path=UNARY.upper())}, 16),
    ("re-targeted: the path without its slash", signed(path=UNARY[1:]), 16),
    ("re-targeted: signed for another message", signed(b"other"), 16),
    ("re-targeted: signed with its frame", signed(frame(MESSAGE)), 16),
    ("re-targeted: signed in base64", signed(base64.b64encode(frame(MESSAGE))), 16),
    ("re-targeted: signed as JSON", signed(b'{"text":"hi"}'), 16),
    ("re-targeted: signed as it is compressed", signed(gzip.compress(MESSAGE, mtime=0)), 16),
    ("re-targeted: the end of the message signed as a timestamp",
     {**signed(MESSAGE[:-1], timestamp=f"{MESSAGE[-1]:02x}")}, 16),
    ("downgraded: without its timestamp", without(signed(), "x-timestamp"), 16),
    ("downgraded: with an empty timestamp", {**signed(timestamp=None), "x-timestamp": ""}, 16),
    ("downgraded: a timestamp in front of a bare signature", {**signed(timestamp=None), "x-timestamp": str(NOW)}, 16),
    ("downgraded: a wrong token before a good signature", {**signed(), **token("wrong")}, 16),
    ("downgraded: an empty token before a good signature", {**signed(), **token("")}, 16),
    ("downgraded: a wrong token and a bad signature", {**signed(secret="bad"), **token("wrong")}, 16),
    ("downgraded: a wrong token before a good one", {**token("wrong"), "authorization": f"Bearer {FULL}"}, 16),
    ("downgraded: an unknown scheme", {"authorization": f"Token {FULL}"}, 16),
    ("downgraded: a token as a password", {"authorization": "Basic " + base64.b64encode(FULL.encode()).decode()}, 16),
    ("confused: the payload with the MAC of another salt",
     token(str(URLSafeSerializer(TOKEN_SECRET, salt="session", signer_kwargs=HMAC).dumps(CLAIMS))), 16),
    ("confused: another way to derive the key",
     token(str(URLSafeSerializer(TOKEN_SECRET, salt=SALT, signer_kwargs=CONCATENATED).dumps(CLAIMS))), 16),
    ("confused: another digest", token(str(
        URLSafeSerializer(TOKEN_SECRET, salt=SALT, signer_kwargs={"key_derivation": "hmac"}).dumps(CLAIMS))), 16),
    ("confused: another serializer, right secret and salt",
     token(str(URLSafeTimedSerializer(TOKEN_SECRET, salt=SALT, signer_kwargs=HMAC).dumps(CLAIMS))), 16),
    # base64 without checks skips what is between payload and timestamp, and zlib what is behind its end.
    ("confused: another serializer, right secret and salt, compressed", token(str(URLSafeTimedSerializer(
        TOKEN_SECRET, salt=SALT, signer_kwargs=HMAC).dumps({**CLAIMS, "name": "root" * 20}))), 16),
    ("confused: a session cookie of the app", token(session_cookie()), 16),
    ("confused: a page token", token(page_token()), 16),
    ("confused: JWT without an algorithm", token(jwt.encode(CLAIMS, None, algorithm="none")), 16),
    ("confused: JWT, HS256 with the right secret", token(jwt.encode(CLAIMS, TOKEN_SECRET, algorithm="HS256")), 16),
    ("confused: the JSON itself", token(str(CLAIMS)), 16),
    ("confused: a request's signature as a token", token(signature()), 16),
    ("confused: a token as a signature", {**signed(), "x-signature": FULL}, 16),
    ("confused: a signed token as a signature", {**signed(), "x-signature": SIGNED}, 16),
    ("confused: a timestamp in scientific notation", signed(timestamp="1e9"), 16),
    ("confused: a timestamp with a sign", signed(timestamp=f"+{NOW}"), 16),
    ("confused: a timestamp with a fraction", signed(timestamp=f"{NOW}.0"), 16),
    ("smuggled: two tokens joined, the good one first", token(f"{FULL},wrong"), 16),
    ("smuggled: two tokens joined, the good one last", token(f"wrong, {FULL}"), 16),
    ("smuggled: two signatures joined", {**signed(), "x-signature": f"{signature()},{'0' * 64}"}, 16),
    ("smuggled: two methods joined", {**signed(), "x-method": f"{UNARY},{STREAM}"}, 16),
    ("smuggled: two timestamps joined", {**signed(), "x-timestamp": f"{NOW},{NOW}"}, 16),
    ("smuggled: two schemes joined", {"authorization": f"Bearer {FULL}, Bearer wrong"}, 16),
    ("smuggled: an empty token before a good one", {**token(""), "authorization": f"Bearer {FULL}"}, 16),
    ("smuggled: a scheme without a token", {"authorization": "Bearer"}, 16),
    ("smuggled: a space for a token", token(" "), 16),
    ("smuggled: a token in a binary header", {f"{TOKEN}-bin": base64.b64encode(FULL.encode()).decode()}, 16),
    ("smuggled: a token in a cookie", {"cookie": f"{TOKEN}={FULL}"}, 16),
    ("smuggled: not ASCII", token(f"{FULL}é"), 16),
    ("smuggled: an X-Body that is not ASCII", {**signed(), "x-body": "é"}, 16),
    ("smuggled: a signature that is not ASCII", {**signed(), "x-signature": "é" * 64}, 16),
    ("smuggled: a token that is not ASCII before a good signature", {**signed(), **token("é")}, 16),
    ("smuggled: a full-width digit in the timestamp", {**signed(), "x-timestamp": "\uff11" * 10}, 16),
    ("smuggled: a control character in the token", token(f"{FULL[:9]}\x0b{FULL[9:]}"), 16),
    ("smuggled: NUL in the signature", {**signed(), "x-signature": signature() + "\0"}, 16),
    ("oversized: metadata", {**token(FULL), "x-a": "a" * 8192}, 8),
    ("oversized: a token", token("x" * 9000), 8),
    ("oversized: very many headers", {**token(FULL), **{f"x-{n}": "a" * 20 for n in range(400)}}, 8),
    ("oversized: a timestamp of 5000 digits", {**signed(), "x-timestamp": "9" * 5000}, 16),
    ("oversized: X-Body of 3000 bytes", {**signed(), "x-body": "00" * 3000}, 16),
]  # fmt: skip


# name, path, headers besides a good token, body, HTTP status, status.
REQUESTS: list[tuple[str, str, dict[str, str], bytes, int, int | None]] = [
    ("scope: another method", STREAM, token(NARROW), frame(MESSAGE), 200, 7),
    ("scope: another method, signed token", STREAM, token(SIGNED_NARROW), frame(MESSAGE), 200, 7),
    ("scope: another method in other case", UNARY.lower(), token(NARROW), frame(MESSAGE), 200, 12),
    ("path: in capitals", UNARY.upper(), {}, frame(MESSAGE), 200, 12),
    ("path: a method of no service", ECHO + "__init__", {}, frame(MESSAGE), 200, 12),
    ("path: with a slash at its end", UNARY + "/", {}, frame(MESSAGE), 404, None),
    ("path: with two slashes", "/" + UNARY, {}, frame(MESSAGE), 404, None),
    ("path: through another folder", f"/x/..{UNARY}", {}, frame(MESSAGE), 404, None),
    ("path: with a parameter", UNARY + ";a=b", {}, frame(MESSAGE), 404, None),
    ("path: with a line break", UNARY + "%0a", {}, frame(MESSAGE), 404, None),
    ("type: plain text, which needs no preflight", UNARY, {"content-type": "text/plain"}, frame(MESSAGE), 415, 12),
    ("type: a form", UNARY, {"content-type": "application/x-www-form-urlencoded"}, frame(MESSAGE), 415, 12),
    ("type: a form of parts", UNARY, {"content-type": "multipart/form-data; boundary=a"}, frame(MESSAGE), 415, 12),
    ("type: none", UNARY, {"content-type": ""}, frame(MESSAGE), 415, 12),
    ("type: ours behind a simple one", UNARY, {"content-type": f"text/plain; {PROTO}"}, frame(MESSAGE), 415, 12),
    ("type: two joined", UNARY, {"content-type": f"text/plain, {PROTO}"}, frame(MESSAGE), 415, 12),
    ("type: gRPC without Web", UNARY, {"content-type": "application/grpc"}, frame(MESSAGE), 505, 12),
    ("truncated: the frame", UNARY, {}, frame(MESSAGE)[:-1], 200, 13),
    ("truncated: the frame's length", UNARY, {}, b"\0\0", 200, 13),
    ("truncated: base64", UNARY, {"content-type": TEXT}, base64.b64encode(frame(MESSAGE))[:-1], 200, 13),
    ("truncated: no body", UNARY, {}, b"", 200, 12),
    ("re-targeted: a second message behind the signed one",
     UNARY, {TOKEN: "", **signed()}, frame(MESSAGE) * 2, 200, 12),
    ("re-targeted: signed protobuf sent as JSON",
     UNARY, {**signed(), "content-type": JSON, TOKEN: ""}, frame(MESSAGE), 200, 13),
    ("oversized: the message", UNARY, {}, frame(bytes(4097)), 200, 8),
    ("oversized: a length of 4 GiB", UNARY, {}, struct.pack("!BI", 0, 2**32 - 1), 200, 8),
    ("oversized: when inflated", UNARY, {"grpc-encoding": "gzip"}, frame(BOMB[:4096], 1), 200, 8),
    ("oversized: JSON nested 800 deep",
     UNARY, {"content-type": JSON}, frame(b'{"a":' * 800), 200, 13),
    ("confused: compressed without saying how", UNARY, {}, frame(gzip.compress(MESSAGE), 1), 200, 13),
    ("confused: an unknown compression", UNARY, {"grpc-encoding": "bomb"}, frame(MESSAGE), 200, 12),
    ("confused: reserved flags", UNARY, {}, frame(MESSAGE, 2), 200, 13),
    ("confused: a trailers frame", UNARY, {}, frame(MESSAGE, 0x80), 200, 13),
    ("confused: no protobuf", UNARY, {}, frame(b"\xff\xff"), 200, 13),
    ("confused: a negative timeout", UNARY, {"grpc-timeout": "-1S"}, frame(MESSAGE), 200, 3),
    ("confused: a timeout that is over", UNARY, {"grpc-timeout": "0n"}, frame(MESSAGE), 200, 4),
    ("stranger: a torn body is not even looked at", UNARY, {TOKEN: "wrong"}, b"torn", 200, 16),
    ("stranger: a bomb is not even inflated",
     UNARY, {TOKEN: "wrong", "grpc-encoding": "gzip"}, frame(BOMB, 1), 200, 16),
    ("stranger: a stream", STREAM, {TOKEN: "wrong"}, frame(MESSAGE), 200, 16),
]  # fmt: skip


def environ_of(headers: dict[str, str]) -> dict[str, str]:
    """As a WSGI server hands headers over: any byte that the network has let through."""
    return {
        f"HTTP_{name.upper().replace('-', '_')}": value.encode().decode("latin-1")
        for name, value in headers.items()
        if name != "content-type"
    }


def with_credentials(headers: dict[str, str], **config: Any) -> tuple[int, list[str]]:
    """The status of a good request but for its credentials, in the protocol of the test, and the functions that ran."""
    ran: list[str] = []
    client = guarded_app(ran, **config).test_client()
    return call(client, UNARY, data=framed(MESSAGE), environ_overrides=environ_of(headers)).code, ran


def attack(path: str, headers: dict[str, str], body: bytes, **config: Any) -> tuple[int, int | None, list[str]]:
    """The HTTP status, the status (None when the answer is not ours) and the functions that ran."""
    ran: list[str] = []
    environ = environ_of(headers)
    client = guarded_app(ran, **config).test_client()
    content_type = headers.get("content-type", PROTO)
    response = client.post(path, data=body, content_type=content_type, environ_overrides=environ)
    answer = read(response.status_code, response.headers, response.data)
    known = "grpc-status" in {**answer.headers, **answer.trailers}
    return answer.http_status, answer.code if known else None, ran


def test_there_are_at_least_sixty_attacks() -> None:
    assert len(CREDENTIALS) + len(REQUESTS) >= 60
    assert len({row[0] for row in (*CREDENTIALS, *REQUESTS)}) == len(CREDENTIALS) + len(REQUESTS)


@every_protocol_in_protobuf
@pytest.mark.needs("time")
def test_credentials_are_refused() -> None:
    def check(name: str, headers: dict[str, str], code: int) -> None:
        assert with_credentials(headers) == (code, []), name

    check_rows(check, CREDENTIALS)


@pytest.mark.parametrize(
    ("path", "headers", "body", "http_status", "code"), [row[1:] for row in REQUESTS], ids=[row[0] for row in REQUESTS]
)
def test_requests_are_refused(
    path: str, headers: dict[str, str], body: bytes, http_status: int, code: int | None
) -> None:
    headers = {name: value for name, value in {TOKEN: FULL, **headers}.items() if (name, value) != (TOKEN, "")}
    assert attack(path, headers, body) == (http_status, code, [])


@pytest.mark.parametrize("headers", [token(FULL), token(NARROW), token(SIGNED), token(SIGNED_NARROW), signed()])
@every_protocol_in_protobuf
def test_without_the_attack_each_is_let_in(headers: dict[str, str]) -> None:
    assert with_credentials(headers) == (0, ["Unary"])


@pytest.mark.parametrize("verb", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "TRACE", "PROPFIND"])
def test_other_verbs_are_refused(verb: str) -> None:
    ran: list[str] = []
    options: dict[str, Any] = {"headers": {TOKEN: FULL, "x-http-method-override": "POST"}, "content_type": PROTO}
    response = guarded_app(ran).test_client().open(UNARY, method=verb, data=frame(MESSAGE), **options)
    assert (response.status_code, ran) == (405, [])


def test_options_run_nothing() -> None:
    ran: list[str] = []
    options: dict[str, Any] = {"headers": {TOKEN: FULL}, "content_type": PROTO, "data": frame(MESSAGE)}
    response = guarded_app(ran).test_client().options(UNARY, **options)
    assert (response.status_code, response.data, ran) == (200, b"", [])


def test_a_verb_in_a_header_does_not_count() -> None:
    assert (
        attack(UNARY, {"x-http-method-override": "GET", "x-original-url": "/", "x-forwarded-user": "root"}, b"")[1]
        == 16
    )


@every_protocol_in_protobuf
def test_no_timestamp_no_entry_when_it_is_required() -> None:
    assert with_credentials(signed(timestamp=None), GRPC_HMAC_REQUIRE_TIMESTAMP=True) == (16, [])


def test_an_auth_token_is_no_page_token() -> None:
    from flask_grpcweb_scm import RpcError
    from flask_grpcweb_scm.scm.queries.paging import read_page_token

    settings = read_settings({**CONFIG, "GRPC_PAGE_TOKEN_SECRETS": [TOKEN_SECRET]})
    with pytest.raises(RpcError, match="page_token is not one of this server"):
        read_page_token(SIGNED, [1, 0, ""], settings)


def test_a_failing_authenticator_lets_nobody_in() -> None:
    from flask_grpcweb_scm import GrpcWebScm
    from tests.apps import echo_app, echo_service

    for broken in (lambda context: None, lambda context: 1 / 0):
        extension = GrpcWebScm(services=[echo_service()], authenticate=broken)  # type: ignore[arg-type]
        client = echo_app(extension=extension).test_client()
        assert client.post(UNARY, data=frame(MESSAGE), content_type=PROTO).headers["grpc-status"] == "13"
