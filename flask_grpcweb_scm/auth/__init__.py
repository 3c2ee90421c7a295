"""Authentication by tokens and signatures, authorization, rate limits. No Flask."""

from flask_grpcweb_scm.auth.authenticator import Authenticator, guard, let_in
from flask_grpcweb_scm.auth.counts import Counts, Uncountable
from flask_grpcweb_scm.auth.credentials import SignedToken, SignedTokens, TokenError, sign
from flask_grpcweb_scm.auth.failures import FailureLimiter
from flask_grpcweb_scm.auth.limits import RateLimiter, StreamLimiter, TenantLimiter
from flask_grpcweb_scm.auth.shared import Revocations, SharedStreams

__all__ = [
    "Authenticator",
    "Counts",
    "FailureLimiter",
    "RateLimiter",
    "Revocations",
    "SharedStreams",
    "SignedToken",
    "SignedTokens",
    "StreamLimiter",
    "TenantLimiter",
    "TokenError",
    "Uncountable",
    "guard",
    "let_in",
    "sign",
]
