"""Who is calling: tokens and signatures. No Flask."""

from flask_grpcweb_scm.auth.authenticator import Authenticator, guard
from flask_grpcweb_scm.auth.signature import sign
from flask_grpcweb_scm.auth.tokens import SignedToken, SignedTokens, TokenError

__all__ = ["Authenticator", "SignedToken", "SignedTokens", "TokenError", "guard", "sign"]
