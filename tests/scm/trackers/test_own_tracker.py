"""docs/own-tracker.md: the tracker there holds the contract, at a stand-in that has the schema of Linear."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from flask_grpcweb_scm.testing.trackers import TrackerContract, Vendor
from flask_grpcweb_scm.trackers import Credential, ProviderRateLimited, ProviderRejected, Tracker
from tests.documents import PAGES, block
from tests.scm.trackers.linear_app import linear_app

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

PAGE = PAGES["own-tracker"]
TOKEN = "lin_api_s3cret"


def module_of_the_page() -> ModuleType:
    module = ModuleType("acme_linear")
    sys.modules[module.__name__] = module
    exec(block(PAGE, "python", "class Linear(Tracker)"), module.__dict__)
    return module


Linear = module_of_the_page().Linear


class TestLinear(TrackerContract):
    tracker = Linear
    fields = {"team": "ENG", "assignee": "ann@acme.example", "priority": "2"}
    foreign_keys = ["eng-1", "ENG", "7", "ENG-1/x"]
    complaint = (
        {"errors": [{"message": "Argument Validation Error", "extensions": {"userPresentableMessage": "Not today."}}]},
        "Not today.",
    )
    markup = ("@all", "<b>", "**x", "[x](y)")
    credential = Credential(token=TOKEN)

    def vendor_app(self) -> WSGIApplication:
        return linear_app(TOKEN)[0]
