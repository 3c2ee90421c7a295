"""Tables of many short rows: one test goes through all, and names every row that fails."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest

__all__ = ["check_rows"]


def check_rows(check: Callable[..., None], rows: Iterable[tuple[Any, ...]]) -> None:
    """Call a check with each row; fail with all rows that fail, and their errors."""
    count, failed = 0, []
    for row in rows:
        count += 1
        try:
            check(*row)
        except (Exception, pytest.fail.Exception) as error:
            failed.append(f"{repr(row)[:300]}: {type(error).__name__}: {str(error)[:1000]}")
    assert count
    assert not failed, "\n".join([f"{len(failed)} of {count} rows fail:", *failed])
