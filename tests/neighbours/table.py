"""All neighbours: in groups, and by the names of their classes."""

from __future__ import annotations

from tests.neighbours.access import ACCESS
from tests.neighbours.contexts import CONTEXTS
from tests.neighbours.middlewares import MIDDLEWARES
from tests.neighbours.observers import OBSERVERS
from tests.neighbours.pages import PAGES

__all__ = ["GROUPS", "NEIGHBOURS"]

GROUPS = {
    "Who may call": ACCESS,
    "What service functions use": CONTEXTS,
    "Agents and observers": OBSERVERS,
    "Around the app": MIDDLEWARES,
    "The host's pages": PAGES,
}
NEIGHBOURS = {kind.__name__: kind for kinds in GROUPS.values() for kind in kinds}
