"""Who is calling: tokens and signatures. No Flask."""

from flask_grpcweb_scm.auth.authenticator import Authenticator, guard
from flask_grpcweb_scm.auth.signature import sign

__all__ = ["Authenticator", "guard", "sign"]
