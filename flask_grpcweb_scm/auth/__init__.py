"""Authentication by tokens and signatures, authorization, rate limits. No Flask."""

from flask_grpcweb_scm.auth.authenticator import Authenticator, guard, let_in
from flask_grpcweb_scm.auth.credentials import SignedToken, SignedTokens, TokenError, sign
from flask_grpcweb_scm.auth.failures import FailureLimiter
from flask_grpcweb_scm.auth.limits import Counts, RateLimiter, StreamLimiter, TenantLimiter

__all__ = [
    "Authenticator",
    "Counts",
    "FailureLimiter",
    "RateLimiter",
    "SignedToken",
    "SignedTokens",
    "StreamLimiter",
    "TenantLimiter",
    "TokenError",
    "guard",
    "let_in",
    "sign",
]
