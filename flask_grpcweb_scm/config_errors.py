"""Errors and warnings of a configuration."""

from __future__ import annotations

import inspect
import os
import warnings
from collections.abc import Iterable

from flask_grpcweb_scm.rpc import did_you_mean

__all__ = ["ConfigError", "check_method_names", "names_of_method", "warn"]

_PACKAGE = os.path.dirname(__file__) + os.sep


class ConfigError(Exception):
    """Raised for a configuration that cannot work; the text names the key, the value and the way out."""


def warn(message: str) -> None:
    """Warn of the configuration of an app, at the line of the app that has called this package."""
    level, frame = 1, inspect.currentframe()
    while frame and frame.f_code.co_filename.startswith(_PACKAGE):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, stacklevel=level)


def check_method_names(key: str, names: Iterable[str], method_paths: Iterable[str]) -> None:
    """Check that names such as ``pkg.Service/Method`` and ``pkg.Service/*`` are of methods that are served.

    :raises ConfigError: for the first one that is not, naming `key`.
    """
    served = {name for path in method_paths for name in names_of_method(path)}
    for name in sorted(set(names) - served):
        raise ConfigError(f"{key}: no method {name!r} is served{did_you_mean(name, served)}")


def names_of_method(method_path: str) -> set[str]:
    """Return the names of a method in configuration keys: its own, and that of all methods of its service."""
    return {method_path[1:], method_path[1:].partition("/")[0] + "/*"}
