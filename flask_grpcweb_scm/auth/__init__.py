"""Authentication by tokens and signatures, authorization, rate limits. No Flask."""

from flask_grpcweb_scm.auth.authenticator import Authenticator, guard, let_in
from flask_grpcweb_scm.auth.credentials import SignedToken, SignedTokens, TokenError, sign
from flask_grpcweb_scm.auth.failures import FailureLimiter
from flask_grpcweb_scm.auth.limits import Counts, RateLimiter, StreamLimiter

__all__ = [
    "Authenticator",
    "Counts",
    "FailureLimiter",
    "RateLimiter",
    "SignedToken",
    "SignedTokens",
    "StreamLimiter",
    "TokenError",
    "guard",
    "let_in",
    "sign",
]
