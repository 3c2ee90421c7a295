"""How Hypothesis runs here."""

from __future__ import annotations

import os

from hypothesis import settings

settings.register_profile(
    "default", deadline=None, database=None, max_examples=50, derandomize=bool(os.environ.get("CI"))
)
settings.load_profile("default")
