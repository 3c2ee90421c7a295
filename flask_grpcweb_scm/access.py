"""Authentication and limits, as the configuration has them."""

from __future__ import annotations

from typing import TypeGuard

from flask_grpcweb_scm.auth import (
    Authenticator,
    Counts,
    FailureLimiter,
    RateLimiter,
    Revocations,
    SharedStreams,
    SignedTokens,
    StreamLimiter,
    guard,
    let_in,
)
from flask_grpcweb_scm.configuration import ConfigError
from flask_grpcweb_scm.rpc import Authenticate, is_async
from flask_grpcweb_scm.settings import Settings

__all__ = ["authentication", "revocations", "shared_counts", "stream_limiter"]

MEMORY = "memory://"


def shared_counts(settings: Settings) -> Counts | None:
    """Open the storage of counts; None when nothing is counted in one.

    :raises ConfigError: when it cannot be used.
    """
    if not settings.rate_limits and settings.rate_limit_storage == MEMORY:
        return None
    try:
        return Counts(settings.rate_limit_storage)
    except ImportError:
        key = "GRPC_RATE_LIMITS" if settings.rate_limits else "GRPC_RATE_LIMIT_STORAGE"
        raise ConfigError(f"{key} needs limits: pip install 'flask_grpcweb_scm[ratelimit]'") from None
    except ValueError as error:
        raise ConfigError(str(error)) from None


def stream_limiter(settings: Settings, counts: Counts | None) -> StreamLimiter:
    """Make what counts open streams: those of a caller in all processes, where these share a Redis."""
    shared = SharedStreams(counts) if _has_redis(counts) else None
    return StreamLimiter(settings.max_streams, settings.max_streams_total, shared)


def revocations(counts: Counts | None) -> Revocations | None:
    """Make what knows the tokens that are revoked in all processes; None where these share no Redis."""
    return Revocations(counts) if _has_redis(counts) else None


def _has_redis(counts: Counts | None) -> TypeGuard[Counts]:
    return counts is not None and counts.has_redis


def authentication(settings: Settings, own: Authenticate | None, counts: Counts | None) -> Authenticate | None:
    """Make what says who calls, with the limits of failures and of rates around it; None when anybody may call.

    :param own: of the app, in place of tokens and signatures.
    :raises ConfigError: when it is async.
    """
    return _limited(_authenticated(settings, own, counts), settings, counts)


def _authenticated(settings: Settings, own: Authenticate | None, counts: Counts | None) -> Authenticate | None:
    if own is None and not settings.require_auth:
        return None
    if is_async(own):
        # A coroutine would be taken for an Identity.
        raise ConfigError(f"authenticate={own!r} is async; make it a plain function")
    return guard(own or _authenticator(settings, counts), settings.public_methods)


def _authenticator(settings: Settings, counts: Counts | None) -> Authenticator:
    secrets = settings.token_secrets
    shared = revocations(counts) or ()
    return Authenticator(
        tokens=settings.auth_tokens,
        signed_tokens=SignedTokens(secrets, settings.revoked_tokens, shared) if secrets else None,
        hmac_secrets=settings.hmac_secrets,
        hmac_max_age=settings.hmac_max_age,
        hmac_require_timestamp=settings.hmac_require_timestamp,
    )


def _limited(authenticate: Authenticate | None, settings: Settings, counts: Counts | None) -> Authenticate | None:
    if authenticate is not None and settings.max_auth_failures is not None:
        shared = None if settings.rate_limit_storage == MEMORY else counts
        authenticate = FailureLimiter(settings.max_auth_failures, shared).guard(authenticate)
    if settings.rate_limits and counts is not None:
        return RateLimiter(settings.rate_limits, counts).guard(authenticate or let_in)
    return authenticate
