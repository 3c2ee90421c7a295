"""Validation of the fields of requests: each check returns a problem in words, or None."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

from google.rpc import error_details_pb2

from flask_grpcweb_scm.rpc import RpcError, StatusCode

__all__ = [
    "MAX_PATH_CHARACTERS",
    "MAX_ROOT_CHARACTERS",
    "bad_request",
    "branch_problem",
    "failed_precondition",
    "invalid_argument",
    "line_problem",
    "path_problem",
    "precondition_failure",
    "root_problem",
    "sha_problem",
    "text_problem",
    "validate",
]

MAX_PATH_CHARACTERS = 4096
MAX_ROOT_CHARACTERS = 512
MAX_BRANCH_CHARACTERS = 255

_SHA = re.compile(r"[0-9a-fA-F]{7,64}")
_ROOT = re.compile(r"[^\s'\"\x00-\x1f\x7f-\x9f]*")
_BRANCH = re.compile(r"[\w./-]*")


def validate(**problems: str | None) -> None:
    """Refuse a request with all problems of its fields, which the arguments are named after.

    :raises RpcError: INVALID_ARGUMENT, when an argument is not None.
    """
    wrong = {field: problem for field, problem in problems.items() if problem is not None}
    if wrong:
        raise invalid_argument(wrong)


def invalid_argument(problems: Mapping[str, str]) -> RpcError:
    """Make the error for problems by field; its details have them as a ``google.rpc.BadRequest``."""
    text = "; ".join(f"{field} {problem}" for field, problem in problems.items())
    return RpcError(StatusCode.INVALID_ARGUMENT, text, details=[bad_request(problems)])


def bad_request(problems: Mapping[str, str]) -> error_details_pb2.BadRequest:
    """Make the detail of a status for problems by field."""
    details = error_details_pb2.BadRequest()
    for field, problem in problems.items():
        details.field_violations.add(field=field, description=problem)
    return details


def failed_precondition(kind: str, subject: str, text: str) -> RpcError:
    """Make the error for a state that has to change before the call can succeed.

    :param kind: for programs, such as ``IDEMPOTENCY_KEY``.
    :param subject: what is in that state.
    """
    return RpcError(StatusCode.FAILED_PRECONDITION, text, details=[precondition_failure(kind, subject, text)])


def precondition_failure(kind: str, subject: str, text: str) -> error_details_pb2.PreconditionFailure:
    """Make the detail of a status for a failed precondition."""
    details = error_details_pb2.PreconditionFailure()
    details.violations.add(type=kind, subject=subject, description=text)
    return details


def text_problem(
    text: str, *, required: bool = False, limit: int | None = None, unit: Literal["characters", "bytes"] = "characters"
) -> str | None:
    """Check text that is stored or searched for: PostgreSQL has no NUL in text."""
    if required and not text.strip():
        return "is empty"
    if limit is not None:
        size = len(text) if unit == "characters" else len(text.encode())
        if size > limit:
            return f"has {size} {unit}; the limit is {limit}"
    return "has a NUL character" if "\0" in text else None


def sha_problem(sha: str) -> str | None:
    """Check a SHA or the beginning of one; it may be empty."""
    if sha and _SHA.fullmatch(sha) is None:
        return f"must be a full SHA, or at least its first 7 hexadecimal digits, got {_quote(sha)}"
    return None


def path_problem(path: str) -> str | None:
    """Check the path of a file in a repository."""
    if not path:
        return "is empty"
    if len(path) > MAX_PATH_CHARACTERS or "\0" in path or not {"", ".", ".."}.isdisjoint(path.split("/")):
        return f"must be a path from the top of the repository, without '.' or '..', got {_quote(path)}"
    return None


def line_problem(number: int) -> str | None:
    """Check a line number."""
    return None if number >= 1 else f"must be 1 or more, got {number}"


def root_problem(root: str) -> str | None:
    """Check either root of a code mapping."""
    if _ROOT.fullmatch(root) is None:
        return f"must have no whitespace, quotes or control characters, got {_quote(root)}"
    return text_problem(root, limit=MAX_ROOT_CHARACTERS)


def branch_problem(branch: str) -> str | None:
    """Check the name of a branch."""
    if _BRANCH.fullmatch(branch) is None or branch.startswith("/") or branch.endswith("/"):
        return f"may have letters, digits and any of _ . / - with no slash at either end, got {_quote(branch)}"
    return text_problem(branch, limit=MAX_BRANCH_CHARACTERS)


def _quote(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:80] + "…")
