"""Imports between the rooms of scm point down; the rules of code mappings are pure."""

from __future__ import annotations

import pytest

from tests.imports import FILES, all_imports, reached_by

PACKAGE = "flask_grpcweb_scm.scm"
MODULES = [module for module in FILES if module == PACKAGE or module.startswith(f"{PACKAGE}.")]

# Room → rooms that it may import, all of them above it in this table.
ALLOWED: dict[str, set[str]] = {
    "validation": set(),
    "settings": set(),
    "lru_cache": set(),
    "providers": {"settings"},
    "remotes": set(),
    "pages": {"remotes"},
    "ranking": set(),
    "database": {"remotes"},
    "migrations": set(),
    "search": {"database"},
    "queries": {"database", "search", "settings", "validation"},
    "trackers": {"database", "lru_cache", "providers", "queries", "settings", "validation"},
    "sources": {"database", "lru_cache", "providers", "queries", "settings", "trackers"},
    "git_import": {"database", "queries", "remotes", "sources"},
    "mirrors": {
        "database", "git_import", "lru_cache", "providers", "queries", "remotes", "settings", "sources", "trackers",
    },
    "code_mappings": {
        "database", "lru_cache", "mirrors", "pages", "providers", "queries", "remotes", "settings", "sources",
        "validation",
    },
    "jobs": {"database", "git_import", "providers", "settings", "sources"},
    "service": {
        "code_mappings", "database", "git_import", "jobs", "lru_cache", "mirrors", "pages", "providers", "queries",
        "ranking", "remotes", "settings", "sources", "trackers", "validation",
    },
    "sync": {
        "database", "git_import", "jobs", "mirrors", "providers", "queries", "remotes", "settings", "sources",
        "trackers", "validation",
    },
    "webhooks": {"database", "git_import", "jobs", "providers", "remotes", "settings", "trackers"},
    "celery": {"database", "jobs", "sync"},
    "cli": {
        "code_mappings", "database", "git_import", "jobs", "mirrors", "providers", "remotes", "service",
        "settings", "sources", "sync", "trackers",
    },
    "__init__": {"cli", "database", "jobs", "service", "trackers"},
}  # fmt: skip
PURE = {"libraries", "frames", "tracebacks", "trees", "roots", "decide"}


def room(module: str) -> str:
    return module.removeprefix(PACKAGE).removeprefix(".").partition(".")[0] or "__init__"


def test_a_module_imports_only_rooms_below_its_own() -> None:
    found = {}
    for module in MODULES:
        rooms = {room(name) for name in all_imports()[module] if name.startswith(PACKAGE)}
        found[module] = rooms - {room(module)} - ALLOWED[room(module)]
    assert {module: rooms for module, rooms in found.items() if rooms} == {}


def test_the_table_has_no_circle() -> None:
    for index, allowed in enumerate(ALLOWED.values()):
        assert allowed <= set(list(ALLOWED)[:index])


@pytest.mark.parametrize("name", sorted(PURE))
def test_the_rules_of_code_mappings_know_neither_flask_nor_sqlalchemy(name: str) -> None:
    tops = {module.partition(".")[0] for module in reached_by([f"{PACKAGE}.code_mappings.{name}"])}
    assert not tops & {"flask", "flask_sqlalchemy", "sqlalchemy", "werkzeug"}
