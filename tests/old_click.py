"""Has the test runner of click before 8.2 do as the one since: standard error apart, and both in `output`."""

from __future__ import annotations

import functools
import inspect

from click.testing import CliRunner, Result

if "mix_stderr" in inspect.signature(CliRunner).parameters:
    CliRunner.__init__ = functools.partialmethod(CliRunner.__init__, mix_stderr=False)  # type: ignore[assignment]
    Result.output = property(lambda self: self.stdout + self.stderr)  # type: ignore[assignment]
