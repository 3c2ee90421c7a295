"""What Sentry's SDK sends of a mixed run, in a process of its own: it patches Flask.

``python -m tests.observe.sentry APP…`` prints as JSON, by app, the events of a crash of a view, under "view", and those
of each case, under its name.
"""

from __future__ import annotations

import json
import logging
import sys
from typing import Any

import sentry_sdk
from sentry_sdk.envelope import Envelope
from sentry_sdk.integrations.flask import FlaskIntegration
from sentry_sdk.transport import Transport

from tests.apps import know_routes
from tests.observe import mixed


class Kept(Transport):
    """Keeps what would be sent."""

    events: list[dict[str, Any]] = []

    def capture_envelope(self, envelope: Envelope) -> None:
        self.events.extend(event for item in envelope.items if (event := item.payload.json))


def crash() -> str:
    raise ZeroDivisionError("crash of a service function")


def reports(name: str) -> dict[str, list[dict[str, Any]]]:
    Kept.events.clear()
    app, cases = getattr(mixed, name)(), mixed.CASES + (mixed.HOOKED_CASES if name == "hooked_app" else [])
    app.add_url_rule("/crash", "crash", crash, methods=["POST"])
    know_routes(app)
    app.test_client().post("/crash")
    found = {"view": [*Kept.events]}
    for case in cases:
        Kept.events.clear()
        assert mixed.in_process(app, case) == case.code
        found[case.name] = [*Kept.events]
    return found


if __name__ == "__main__":
    logging.raiseExceptions = False
    sentry_sdk.init("http://key@localhost/1", transport=Kept, integrations=[FlaskIntegration()])
    sys.stdout.write(json.dumps({name: reports(name) for name in sys.argv[1:]}))
