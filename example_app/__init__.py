"""An app with a service of its own beside ScmService, a page that calls it, and the console: ``make run``."""

import re
from collections.abc import Collection

from flask import Flask, Response, current_app, render_template, request
from werkzeug.middleware.proxy_fix import ProxyFix

from example_app.dice import dice
from flask_grpcweb_scm import GrpcWebScm

__all__ = ["create_app"]

OWN_HOSTS = ("localhost", "127.0.0.1", "[::1]")
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:;"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

grpc = GrpcWebScm(services=[dice])


def create_app() -> Flask:
    """Build the app; ``FLASK_…`` environment variables are its configuration.

    ``FLASK_TRUSTED_HOSTS`` names the hosts that it may be called by beside those of this machine, and ``FLASK_PROXIES``
    the number of proxies before it.
    """
    app = Flask(__name__)
    app.config.from_mapping(SQLALCHEMY_DATABASE_URI="sqlite:///example.db", DICE_PAUSE=0.3, PROXIES=0)
    app.config.from_mapping(GRPC_MAX_TIMEOUT=300, GRPC_CONSOLE=True)
    app.config.from_prefixed_env()
    if not app.config.keys() & {"GRPC_AUTH_TOKENS", "GRPC_TOKEN_SECRETS", "GRPC_HMAC_SECRETS"}:
        app.config.setdefault("GRPC_REQUIRE_AUTH", False)  # open on purpose: it is served on 127.0.0.1 alone
    _refuse_other_hosts(app)
    app.add_url_rule("/", view_func=index)
    app.after_request(_add_policy)
    grpc.init_app(app)
    hops = int(app.config["PROXIES"])
    app.wsgi_app = ProxyFix(app.wsgi_app, hops, hops, hops, x_prefix=hops)  # type: ignore[method-assign]
    return app


def index() -> str:
    """Show the services of this app."""
    state = current_app.extensions["grpcweb_scm"]
    return render_template(
        "index.html",
        prefix=request.script_root + state.settings.url_prefix,
        services=[service.descriptor for service in state.dispatcher.services.values()],
        console=request.script_root + state.settings.console if state.settings.console else None,
    )


def _refuse_other_hosts(app: Flask) -> None:
    """Respond to hosts of the app alone.

    A page of any site may give its own name the address 127.0.0.1 once it is loaded: for the browser the app is of its
    origin then, and only the name in the request tells.
    """
    configured = app.config.get("TRUSTED_HOSTS") or []
    names = configured.split(",") if isinstance(configured, str) else configured
    hosts = {*OWN_HOSTS, *(name.strip().lower() for name in names)} - {""}
    # Flask's own check takes "[::1]:8000" for a host "[", and comes with 3.1 only.
    app.config["TRUSTED_HOSTS"] = None

    def refuse() -> Response | None:
        if _is_one_of(request.host, hosts):
            return None
        text = f"{request.host!r} is not a host of this app; name it in FLASK_TRUSTED_HOSTS if it should be one\n"
        return Response(text, 403, mimetype="text/plain")

    app.before_request(refuse)


def _is_one_of(host: str, hosts: Collection[str]) -> bool:
    """Compare a host without its port; a name with a leading dot stands for all below it."""
    name = re.sub(r":[0-9]*\Z", "", host).lower()
    return name in hosts or any(name.endswith(each) for each in hosts if each.startswith("."))


def _add_policy(response: Response) -> Response:
    if response.mimetype == "text/html":
        response.headers.setdefault("Content-Security-Policy", CONTENT_SECURITY_POLICY)
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    return response
