"""Neighbours that service functions use: sessions, caches, languages, threads, databases."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from flask import Flask, copy_current_request_context, current_app, request, session

from tests.neighbours.neighbour import Neighbour

if TYPE_CHECKING:
    from tests.neighbours.host import Host

__all__ = ["CONTEXTS"]


def whereabouts() -> str:
    """The path of the request, and of the RPC when there is one."""
    from flask_grpcweb_scm import current_rpc

    if request.path == "/page":
        return request.path
    return f"{request.path} {current_rpc.method.path}"


def expected_whereabouts(cell: str) -> str:
    """The same, for a call of a host."""
    from tests.neighbours.host import PATHS

    return PATHS[cell] if cell == "page" else f"{PATHS[cell]} {PATHS[cell]}"


class FlaskSession(Neighbour):
    name = "Flask-Session"
    distribution = "Flask-Session"
    sign = "the second call reads what the first has stored on the server"

    def __init__(self) -> None:
        from cachelib import SimpleCache

        self.store = SimpleCache()

    def install(self, app: Flask) -> None:
        from flask_session import Session

        app.config.update(SESSION_TYPE="cachelib", SESSION_CACHELIB=self.store)
        Session(app)

    def speak(self, text: str) -> str:
        session["count"] = session.get("count", 0) + 1
        return str(session["count"])

    def acts(self, cell: str, host: Host) -> object:
        first, second = host.call(cell).texts[0], host.call(cell).texts[0]
        return (first, second) == ("1", "2") and len(self.store._cache) == 1


class FlaskCaching(Neighbour):
    name = "Flask-Caching"
    distribution = "Flask-Caching"
    sign = "`memoize()` computes once for two calls"

    def __init__(self) -> None:
        from flask_caching import Cache

        self.cache = Cache(config={"CACHE_TYPE": "SimpleCache"})
        self.computed = 0
        self.compute = self.cache.memoize()(self.compute_anew)

    def install(self, app: Flask) -> None:
        self.cache.init_app(app)

    def compute_anew(self, text: str) -> str:
        self.computed += 1
        return f"computed {self.computed}"

    def speak(self, text: str) -> str:
        return self.compute(text)

    def acts(self, cell: str, host: Host) -> object:
        return host.call(cell).texts[0] == host.call(cell).texts[0] == "computed 1"


class FlaskBabel(Neighbour):
    name = "Flask-Babel"
    distribution = "Flask-Babel"
    sign = "a number is written as in the language of `Accept-Language`"

    def install(self, app: Flask) -> None:
        from flask_babel import Babel

        Babel(app, locale_selector=lambda: request.accept_languages.best_match(["en", "de"]))

    def speak(self, text: str) -> str:
        from flask_babel import format_decimal

        return format_decimal(1234.5)

    def acts(self, cell: str, host: Host) -> object:
        languages = {"de": "1.234,5", "en": "1,234.5"}
        return all(host.call(cell, headers={"Accept-Language": it}).texts[0] == languages[it] for it in languages)


class FlaskHtmx(Neighbour):
    name = "Flask-HTMX"
    distribution = "Flask-HTMX"
    sign = "tells the page by `HX-Current-URL`"

    def __init__(self) -> None:
        from flask_htmx import HTMX

        self.htmx = HTMX()

    def install(self, app: Flask) -> None:
        self.htmx.init_app(app)

    def speak(self, text: str) -> str:
        return str(self.htmx.current_url)

    def acts(self, cell: str, host: Host) -> object:
        url = "http://localhost/cart"
        return host.call(cell, headers={"HX-Request": "true", "HX-Current-URL": url}).texts[0] == url


class FlaskExecutor(Neighbour):
    name = "Flask-Executor"
    distribution = "Flask-Executor"
    sign = "its thread has `request` and `current_rpc`"

    def install(self, app: Flask) -> None:
        from flask_executor import Executor

        self.executor = Executor(app)

    def speak(self, text: str) -> str:
        return self.executor.submit(whereabouts).result(10)

    def acts(self, cell: str, host: Host) -> object:
        return host.call(cell).texts[0] == expected_whereabouts(cell)


class CopiedContext(Neighbour):
    name = "`copy_current_request_context`"
    distribution = "Flask"
    sign = "a thread has `request` and `current_rpc`"

    def speak(self, text: str) -> str:
        found: list[str] = []
        thread = threading.Thread(target=copy_current_request_context(lambda: found.append(whereabouts())))
        thread.start()
        thread.join(10)
        return "".join(found)

    def acts(self, cell: str, host: Host) -> object:
        return host.call(cell).texts[0] == expected_whereabouts(cell)


class PytestFlask(Neighbour):
    name = "pytest-flask"
    distribution = "pytest-flask"
    sign = "responses are of its class; the request context that it pushes around a test is there after the call"
    orders = ("after",)  # as its fixtures

    def install(self, app: Flask) -> None:
        from pytest_flask.plugin import _make_test_response_class

        app.response_class = _make_test_response_class(app.response_class)

    def speak(self, text: str) -> str:
        return f"{request.path} {current_app.response_class.__name__}"

    def acts(self, cell: str, host: Host) -> object:
        from tests.neighbours.host import PATHS

        with host.app.test_request_context("/outside"):
            response = host.call(cell)
            is_there = request.path == "/outside"
        text = f"{PATHS[cell]} <class 'pytest_flask.plugin.JSONResponse'>"
        return is_there and set(response.texts) == {text}


class FlaskSqlalchemy(Neighbour):
    name = "Flask-SQLAlchemy (the host's own instance)"
    distribution = "Flask-SQLAlchemy"
    sign = "a row is read, and the session ends with the call"
    config = {"SQLALCHEMY_DATABASE_URI": "sqlite://"}

    def install(self, app: Flask) -> None:
        from flask_sqlalchemy import SQLAlchemy

        self.db = db = SQLAlchemy(app)

        class Word(db.Model):  # type: ignore[name-defined]
            text = db.Column(db.String, primary_key=True)

        self.words = db.select(Word.text)
        with app.app_context():
            db.create_all()
            db.session.add(Word(text="from a row"))
            db.session.commit()

    def speak(self, text: str) -> str:
        return self.db.session.scalar(self.words)

    def acts(self, cell: str, host: Host) -> object:
        return host.call(cell).texts[0] == "from a row" and not self.db.session.registry.registry


class Beaker(Neighbour):
    name = "Beaker (`SessionMiddleware`)"
    distribution = "Beaker"
    sign = "the second call reads what the first has stored"

    def install(self, app: Flask) -> None:
        from beaker.middleware import SessionMiddleware

        app.wsgi_app = SessionMiddleware(app.wsgi_app, {"session.type": "memory", "session.auto": True})

    def speak(self, text: str) -> str:
        stored = request.environ["beaker.session"]
        stored["count"] = stored.get("count", 0) + 1
        stored.save()
        return str(stored["count"])

    def acts(self, cell: str, host: Host) -> object:
        first, second = host.call(cell), host.call(cell)
        return (first.texts[0], second.texts[0]) == ("1", "2")


CONTEXTS = [
    *(FlaskSession, FlaskCaching, FlaskBabel, FlaskHtmx, FlaskExecutor, CopiedContext, PytestFlask),
    *(FlaskSqlalchemy, Beaker),
]
