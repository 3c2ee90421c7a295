"""Neighbours that decide who may come in: log-ins, permissions, limits, tokens against forgery, origins, transport."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from flask import Flask, g, request

from tests.neighbours.neighbour import Neighbour

if TYPE_CHECKING:
    from tests.neighbours.host import Host, Response

__all__ = ["ACCESS"]

USER = "ann"
ORIGIN = "https://pages.example"
NOT_A_FORM = "protects forms; browsers send gRPC-Web across origins only after a preflight"


class LogIn(Neighbour):
    """A stranger is refused, and the functions know the user by name."""

    sign = "a stranger gets 401 or 16, a user is known by name"
    refusal = (401, 16)

    def credentials(self, host: Host) -> dict[str, str]:
        """The headers of the user."""
        return {"X-User": USER}

    def explains(self, refused: Response) -> object:
        """Whether the refusal has what else the neighbour sends with it."""
        return True

    def acts(self, cell: str, host: Host) -> object:
        refused = host.call(cell)
        if not (refused.is_refused(*self.refusal) and self.explains(refused)):
            return False
        known = host.call(cell, headers=self.credentials(host))
        return known.is_right and known.texts[0] == USER


class FlaskLogin(LogIn):
    name = "Flask-Login"
    distribution = "Flask-Login"
    sign = "a stranger is redirected or gets 16, a user is known by name"
    refusal = (302, 16)

    def install(self, app: Flask) -> None:
        from flask_login import LoginManager, UserMixin

        class User(UserMixin):
            id = USER

        app.add_url_rule("/login", "login")
        manager = LoginManager(app)
        manager.login_view = "login"
        manager.request_loader(lambda request: User() if request.headers.get("X-User") == USER else None)

    def guard(self, function: Callable[..., Any]) -> Callable[..., Any]:
        from flask_login import login_required

        return login_required(function)

    def speak(self, text: str) -> str:
        from flask_login import current_user

        return current_user.get_id()


class FlaskHttpAuth(LogIn):
    name = "Flask-HTTPAuth"
    distribution = "Flask-HTTPAuth"
    sign = "a stranger gets 401 or 16, with `WWW-Authenticate`, a user is known by name"

    def __init__(self) -> None:
        from flask_httpauth import HTTPBasicAuth

        self.auth = HTTPBasicAuth()
        self.auth.verify_password(lambda name, password: name if (name, password) == (USER, "secret") else None)

    def credentials(self, host: Host) -> dict[str, str]:
        return {"Authorization": "Basic " + base64.b64encode(f"{USER}:secret".encode()).decode()}

    def guard(self, function: Callable[..., Any]) -> Callable[..., Any]:
        return self.auth.login_required(function)

    def speak(self, text: str) -> str:
        return self.auth.current_user()

    def explains(self, refused: Response) -> object:
        return refused.headers.get("www-authenticate", "").startswith("Basic realm=")


class FlaskSecurity(LogIn):
    name = "Flask-Security"
    distribution = "Flask-Security"
    sign = "a stranger is redirected or gets 16, a user is known by name"
    refusal = (302, 16)
    config = {
        "SECURITY_PASSWORD_SALT": "of the host",
        "SECURITY_PASSWORD_HASH": "plaintext",
        "SECURITY_PASSWORD_SCHEMES": ["plaintext"],
    }

    def install(self, app: Flask) -> None:
        from flask_security import RoleMixin, Security, UserDatastore, UserMixin

        class User(UserMixin):
            id = 1
            email = USER
            fs_uniquifier = "1"
            active = True
            roles = ()

        class Users(UserDatastore):
            def find_user(self, case_insensitive: bool = False, **query: Any) -> User | None:
                return user if all(getattr(user, name) == value for name, value in query.items()) else None

        self.user = user = User()
        Security(app, Users(User, type("Role", (RoleMixin,), {})))

    def credentials(self, host: Host) -> dict[str, str]:
        with host.app.app_context():
            return {"Authentication-Token": self.user.get_auth_token()}

    def guard(self, function: Callable[..., Any]) -> Callable[..., Any]:
        from flask_security import auth_required

        return auth_required("token")(function)

    def speak(self, text: str) -> str:
        from flask_security import current_user

        return current_user.email


class FlaskJwtExtended(LogIn):
    name = "Flask-JWT-Extended"
    distribution = "Flask-JWT-Extended"
    sign = "a stranger gets 401 or 16, and is told “Missing Authorization Header”, a user is known by name"
    config = {"JWT_SECRET_KEY": "of the host, and long enough"}

    def install(self, app: Flask) -> None:
        from flask_jwt_extended import JWTManager

        JWTManager(app)

    def credentials(self, host: Host) -> dict[str, str]:
        from flask_jwt_extended import create_access_token

        with host.app.app_context():
            return {"Authorization": f"Bearer {create_access_token(USER)}"}

    def guard(self, function: Callable[..., Any]) -> Callable[..., Any]:
        from flask_jwt_extended import jwt_required

        return jwt_required()(function)

    def speak(self, text: str) -> str:
        from flask_jwt_extended import get_jwt_identity

        return get_jwt_identity()

    def explains(self, refused: Response) -> object:
        told = "Missing Authorization Header"
        return told in refused.body if refused.cell == "page" else refused.message == told


class FlaskPrincipal(LogIn):
    name = "Flask-Principal"
    distribution = "Flask-Principal"
    sign = "an identity without the need gets 403 or 7, another is known by name"
    refusal = (403, 7)

    def install(self, app: Flask) -> None:
        from flask_principal import AnonymousIdentity, Identity, Principal, UserNeed

        def load() -> Identity:
            name = request.headers.get("X-User")
            identity = Identity(name) if name else AnonymousIdentity()
            identity.provides.add(UserNeed(name))
            return identity

        Principal(app, use_sessions=False).identity_loader(load)

    def guard(self, function: Callable[..., Any]) -> Callable[..., Any]:
        from flask_principal import Permission, UserNeed

        return Permission(UserNeed(USER)).require(403)(function)

    def speak(self, text: str) -> str:
        return g.identity.id


class ApiFlask(LogIn):
    name = "APIFlask"
    distribution = "APIFlask"

    def __init__(self) -> None:
        from apiflask import HTTPTokenAuth

        self.auth = HTTPTokenAuth()
        self.auth.verify_token(lambda token: USER if token == "secret" else None)

    def make_app(self) -> Flask:
        from apiflask import APIFlask

        self.app = APIFlask("host")
        return self.app

    def credentials(self, host: Host) -> dict[str, str]:
        return {"Authorization": "Bearer secret"}

    def guard(self, function: Callable[..., Any]) -> Callable[..., Any]:
        return self.app.auth_required(self.auth)(function)

    def speak(self, text: str) -> str:
        return self.auth.current_user


class FlaskLimiter(Neighbour):
    name = "Flask-Limiter"
    distribution = "Flask-Limiter"
    sign = "`X-RateLimit-Remaining`, then 429 or 8"

    def install(self, app: Flask) -> None:
        from flask_limiter import Limiter
        from flask_limiter.util import get_remote_address

        Limiter(get_remote_address, app=app, default_limits=["1/day"], storage_uri="memory://", headers_enabled=True)

    def acts(self, cell: str, host: Host) -> object:
        first, second = host.call(cell), host.call(cell)
        return first.headers.get("x-ratelimit-remaining") == "0" and first.is_right and second.is_refused(429, 8)


class FlaskSeaSurf(Neighbour):
    name = "Flask-SeaSurf"
    distribution = "Flask-SeaSurf"
    sign = "403 or 7 without the token of its cookie"
    config = {"CSRF_DISABLE": False}

    def install(self, app: Flask) -> None:
        from flask_seasurf import SeaSurf

        SeaSurf(app)

    def acts(self, cell: str, host: Host) -> object:
        host.call("page")
        token = host.client.get_cookie("_csrf_token")
        refused = host.call(cell, method="POST") if cell == "page" else host.call(cell)
        if token is None or not refused.is_refused(403, 7):
            return False
        return host.call(cell, headers={"X-CSRFToken": token.value}).is_right


class FlaskWtf(Neighbour):
    name = "Flask-WTF (CSRFProtect)"
    distribution = "Flask-WTF"
    sign = "400 without the token"
    cannot = dict.fromkeys(["unary", "stream", "error"], NOT_A_FORM)

    def install(self, app: Flask) -> None:
        from flask_wtf import CSRFProtect

        CSRFProtect(app)

    def speak(self, text: str) -> str:
        from flask_wtf.csrf import generate_csrf

        return generate_csrf()

    def acts(self, cell: str, host: Host) -> object:
        token = host.call("page").texts[0]
        refused, accepted = (host.call("page", method="POST", headers={"X-CSRFToken": t}) for t in ("", token))
        return refused.status == 400 and "CSRF token" in refused.body and accepted.is_right


class FlaskCors(Neighbour):
    name = "Flask-CORS (`CORS(app)` alone)"
    distribution = "Flask-CORS"
    sign = "answers preflights; `Access-Control-Allow-Origin`, and the status is exposed"

    def install(self, app: Flask) -> None:
        from flask_cors import CORS

        CORS(app)

    def acts(self, cell: str, host: Host) -> object:
        preflight = host.preflight(cell, ORIGIN)
        response = host.call(cell, headers={"Origin": ORIGIN})
        exposed = set(response.headers.get("access-control-expose-headers", "").lower().split(", "))
        methods = {"POST", "OPTIONS"} | ({"GET", "HEAD"} if cell == "page" else set())
        status = {"grpc-status", "grpc-message", "grpc-status-details-bin"}
        return (
            preflight.status == 200
            and set(preflight.headers["allow"].split(", ")) == methods
            and preflight.headers.get("access-control-allow-origin") == ORIGIN
            and preflight.headers.get("access-control-allow-headers") == "content-type, x-grpc-web"
            and response.headers.get("access-control-allow-origin") == ORIGIN
            and (cell == "page" or status <= exposed)
        )


class FlaskTalisman(Neighbour):
    name = "Flask-Talisman"
    distribution = "Flask-Talisman"
    sign = "a call over HTTP is told the address with `https`; `Content-Security-Policy`"

    def install(self, app: Flask) -> None:
        from flask_talisman import Talisman

        Talisman(app)

    def acts(self, cell: str, host: Host) -> object:
        from tests.neighbours.host import PATHS

        redirected = host.call(cell)
        right = "https://localhost" + PATHS[cell]
        told = redirected.headers.get("location") == right if cell == "page" else right in redirected.message
        secure = host.call(cell, base_url="https://localhost")
        return told and "content-security-policy" in secure.headers and secure.is_right


class FlaskParanoid(Neighbour):
    name = "Flask-Paranoid"
    distribution = "Flask-Paranoid"
    sign = "a session that comes from another browser gets 401 or 16"

    def install(self, app: Flask) -> None:
        from flask_paranoid import Paranoid

        Paranoid(app)

    def acts(self, cell: str, host: Host) -> object:
        own, foreign = (host.call(cell, headers={"User-Agent": name}) for name in ("own", "foreign"))
        return own.is_right and foreign.is_refused(401, 16)


ACCESS = [
    *(FlaskLogin, FlaskHttpAuth, FlaskSecurity, FlaskJwtExtended, FlaskPrincipal, ApiFlask),
    *(FlaskLimiter, FlaskSeaSurf, FlaskWtf, FlaskCors, FlaskTalisman, FlaskParanoid),
]
