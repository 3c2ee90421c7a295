"""docs/own-tracker.md: the tracker there holds the contract, at a stand-in that has the schema of Linear."""

from __future__ import annotations

import sys
from types import ModuleType

from flask_grpcweb_scm.trackers import Tracker
from tests.documents import PAGES, block
from tests.scm.trackers import linear_app

PAGE = PAGES["own-tracker"]


def module_of_the_page(name: str, containing: str) -> ModuleType:
    module = ModuleType(name)
    sys.modules[name] = module
    exec(block(PAGE, "python", containing), module.__dict__)
    return module


sys.modules["linear_app"] = linear_app
Linear = module_of_the_page("acme_linear", "class Linear(Tracker)").Linear
TestLinear = module_of_the_page("test_acme_linear", "class TestLinear(TrackerContract)").TestLinear


def test_the_table_has_the_methods_that_are_needed() -> None:
    table = PAGE.read_text().partition("<!-- methods -->")[2].partition("<!-- /methods -->")[0]
    needed = {line.partition("`")[2].partition("(")[0] for line in table.splitlines() if line.startswith("| `")}
    assert needed == Tracker.__abstractmethods__
