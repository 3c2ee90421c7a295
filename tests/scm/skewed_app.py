"""The app of served_app.py in a process whose clock is off by ``CLOCK_SECONDS``."""

from __future__ import annotations

import datetime
import os
import time

OFFSET = float(os.environ["CLOCK_SECONDS"])
_now, _time = datetime.datetime.now, time.time


class SkewedDatetime(datetime.datetime):
    @classmethod
    def now(cls, tz: datetime.tzinfo | None = None) -> datetime.datetime:  # type: ignore[override]
        return _now(tz) + datetime.timedelta(seconds=OFFSET)


# Before anything imports the class or the function by its name.
datetime.datetime = SkewedDatetime  # type: ignore[misc]
time.time = lambda: _time() + OFFSET

from tests.scm.served_app import create_app  # noqa: E402

__all__ = ["create_app"]
