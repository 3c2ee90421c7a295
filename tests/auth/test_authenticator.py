"""Who may call what; the ways to say who one is are in test_signature.py."""

from __future__ import annotations

import time
from typing import Any

import pytest

from flask_grpcweb_scm.auth import Authenticator, SignedTokens, TokenError, guard, let_in
from flask_grpcweb_scm.rpc import CallContext, Dispatcher, Identity, RpcError, StatusCode
from flask_grpcweb_scm.wire import Metadata
from tests.apps import ECHO, echo_service

METHODS = Dispatcher([echo_service()]).methods
SERVICE = ECHO.strip("/")
CI = Identity("ci", methods=frozenset({f"{SERVICE}/Unary"}))
SECRETS = ("new" * 11, "old" * 11)


def context(method: str = "Unary", **headers: str) -> CallContext:
    pairs = [(name.replace("_", "-"), value) for name, value in headers.items()]
    return CallContext(METHODS[ECHO + method], metadata=Metadata.from_headers(pairs))


def refusal(call: Any, *arguments: Any) -> tuple[StatusCode, str]:
    with pytest.raises(RpcError) as caught:
        call(*arguments)
    return caught.value.code, caught.value.message


@pytest.mark.parametrize(
    ("options", "ways"),
    [
        ({"tokens": {"t": CI}}, "X-Grpc-Auth-Token"),
        ({"signed_tokens": SignedTokens(SECRETS)}, "X-Grpc-Auth-Token"),
        ({"hmac_secrets": ["s"]}, "X-Signature and X-Method"),
        ({"tokens": {"t": CI}, "hmac_secrets": ["s"]}, "X-Grpc-Auth-Token or X-Signature and X-Method"),
    ],
)
def test_who_sends_nothing_is_told_what_to_send(options: dict[str, Any], ways: str) -> None:
    code, message = refusal(Authenticator(**options), context())
    assert (code, message) == (StatusCode.UNAUTHENTICATED, f"authentication required: send {ways}")


def test_without_authentication_everybody_is_an_unrestricted_stranger() -> None:
    assert let_in(context(authorization="Bearer wrong")) == Identity()


def test_a_token_stands_for_its_identity() -> None:
    authenticate = Authenticator(tokens={"a": Identity("a"), "t": CI})
    assert authenticate(context(x_grpc_auth_token="t")) is CI
    assert authenticate(context(authorization="BEARER t")) is CI


def test_a_signed_token_is_read_when_it_is_none_of_the_fixed_ones() -> None:
    signed = SignedTokens(SECRETS)
    authenticate = Authenticator(tokens={"t": CI}, signed_tokens=signed)
    token = signed.issue("bot", expires_in=60, organizations=[7, "demo"], methods=[f"{SERVICE}/*"])
    assert authenticate(context(x_grpc_auth_token="t")) is CI
    caller = authenticate(context(x_grpc_auth_token=token))
    assert caller.name == f"bot (token {signed.read(token).id})"
    assert caller.organizations == frozenset({7, "demo"})
    assert caller.methods == frozenset({f"{SERVICE}/*"})
    assert signed.read(token).expires == pytest.approx(time.time() + 60, abs=2)


def test_a_signed_token_without_a_scope_has_no_restriction() -> None:
    caller = SignedTokens(SECRETS).read(SignedTokens(SECRETS).issue("bot", expires_in=60)).identity
    assert (caller.organizations, caller.methods) == (None, None)


TOKEN = SignedTokens(SECRETS).issue("bot", expires_in=86_400)


@pytest.mark.parametrize(
    ("signed", "token", "message"),
    [
        (SignedTokens(SECRETS), TOKEN[:-1], "the token is not valid"),
        (SignedTokens(SECRETS), "A" + TOKEN, "the token is not valid"),
        (SignedTokens(SECRETS), "", "the token is not valid"),
        (SignedTokens(["other" * 7]), TOKEN, "the token is not valid"),
        (SignedTokens(SECRETS, [SignedTokens(SECRETS).read(TOKEN).id]), TOKEN, "the token is revoked"),
        (SignedTokens(SECRETS), SignedTokens(SECRETS).issue("bot", expires_in=0), "the token has expired"),
        (SignedTokens(SECRETS), SignedTokens(SECRETS).issue("bot", expires_in=-1), "the token has expired"),
    ],
    ids=["cut", "changed", "empty", "another secret", "revoked", "just expired", "expired"],
)
def test_a_signed_token_that_is_not_good_is_refused(signed: SignedTokens, token: str, message: str) -> None:
    with pytest.raises(TokenError, match=message):
        signed.read(token)
    authenticate = Authenticator(signed_tokens=signed)
    assert refusal(authenticate, context(x_grpc_auth_token=token)) == (StatusCode.UNAUTHENTICATED, message)


@pytest.mark.parametrize("signer", SECRETS)
def test_any_of_the_secrets_may_have_signed_a_token(signer: str) -> None:
    token = SignedTokens([signer]).issue("bot", expires_in=60)
    assert SignedTokens(SECRETS).read(token).identity.name.startswith("bot ")


def test_the_newest_secret_signs() -> None:
    SignedTokens(SECRETS[:1]).read(TOKEN)
    with pytest.raises(TokenError):
        SignedTokens(SECRETS[1:]).read(TOKEN)


# Guard


def test_a_caller_that_may_not_call_the_method_is_denied_by_its_name() -> None:
    authorize = guard(lambda context: CI, ())
    assert authorize(context("Unary")) is CI
    code, message = refusal(authorize, context("Bidi"))
    assert (code, message) == (StatusCode.PERMISSION_DENIED, f"ci may not call {SERVICE}/Bidi")


@pytest.mark.parametrize(
    ("public", "method", "is_open"),
    [
        ((), "Unary", False),
        ((f"{SERVICE}/Unary",), "Unary", True),
        ((f"{SERVICE}/Unary",), "Bidi", False),
        ((f"{SERVICE}/*",), "Bidi", True),
        (("other.Service/*", "other.Service/Unary"), "Unary", False),
    ],
)
def test_public_methods_are_open_and_ask_for_nothing(public: tuple[str, ...], method: str, is_open: bool) -> None:
    def nobody(context: CallContext) -> Identity:
        raise RpcError(StatusCode.UNAUTHENTICATED, "nobody")

    authorize = guard(nobody, public)
    if is_open:
        assert authorize(context(method)) == Identity()
    else:
        assert refusal(authorize, context(method)) == (StatusCode.UNAUTHENTICATED, "nobody")
