"""An app with a service of its own beside ScmService, and a page that calls both: ``make run``."""

from flask import Flask, current_app, render_template, request

from example_app.dice import dice
from example_app.rows import add_example_rows
from flask_grpcweb_scm import GrpcWebScm

__all__ = ["create_app"]

grpc = GrpcWebScm(services=[dice])


def create_app() -> Flask:
    """Build the app; ``FLASK_…`` environment variables are its configuration."""
    app = Flask(__name__)
    app.config.from_mapping(SQLALCHEMY_DATABASE_URI="sqlite:///example.db", DICE_PAUSE=0.3)
    app.config.from_prefixed_env()
    if not app.config.keys() & {"GRPC_AUTH_TOKENS", "GRPC_TOKEN_SECRETS", "GRPC_HMAC_SECRETS"}:
        app.config.setdefault("GRPC_REQUIRE_AUTH", False)  # open on purpose: it is served on 127.0.0.1 alone
    app.add_url_rule("/", view_func=index)
    app.cli.add_command(add_example_rows)
    grpc.init_app(app)
    return app


def index() -> str:
    """Show the services of this app."""
    state = current_app.extensions["grpcweb_scm"]
    return render_template(
        "index.html",
        prefix=request.script_root + state.settings.url_prefix,
        services=[service.descriptor for service in state.dispatcher.services.values()],
        scm=state.settings.scm,
    )
