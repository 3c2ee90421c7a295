"""From the path in a stack trace and the file it means to the two roots of a code mapping: pure."""

from __future__ import annotations

from dataclasses import dataclass

from flask_grpcweb_scm.scm.code_mappings.frames import StackPath

__all__ = ["Roots", "find_roots"]


@dataclass(frozen=True, slots=True)
class Roots:
    """Replacing `stack_root` by `source_root` makes a path of a stack trace a path of a repository."""

    stack_root: str
    source_root: str

    def lead(self, path: str, file: str) -> bool:
        """Whether the first occurrence of the stack root, replaced, gives the file; an empty one is at the start."""
        return path.replace(self.stack_root, self.source_root, 1).replace("\\", "/") == file


def find_roots(path: StackPath, file: str) -> Roots | None:
    """The roots that lead from a path to a file, as short as they can be; None when there are none."""
    roots = _compare(path, file)
    return roots if roots is not None and roots.lead(path.raw, file) else None


def _compare(path: StackPath, file: str) -> Roots | None:
    rest, head = path.raw, ""
    if rest[:1] in {"/", "\\"}:
        head, rest = rest[0], rest[1:]
    if rest == file:
        return Roots(head, "")
    if not rest or not file:
        return None
    if file.endswith(rest):
        before = file.removesuffix(rest)
        if "/" not in rest:
            return Roots("", before)
        # The file is deeper in the repository: the first folder that both know stays in both roots.
        return Roots(*((start + path.stack_root + "/").replace("//", "/") for start in (head, before)))
    if rest.endswith(file):
        return Roots(head + rest.removesuffix(file), "")
    return _overlap(rest, file, head)


def _overlap(rest: str, file: str, head: str) -> Roots | None:
    """Neither ends with the other: the longest end of the path that the file ends with."""
    separator = "/" if "/" in rest else "\\"
    rest = rest.replace("\\", "/") if separator == "\\" else rest
    for prefix in ("app:///", "../", "./"):
        while rest.startswith(prefix):
            head, rest = head + prefix, rest.removeprefix(prefix)
    segments = rest.split("/")
    for dropped in range(len(segments)):
        end = "/".join(segments[dropped:])
        if end and file.endswith(end):
            source_root = file.removesuffix(end)
            stack_root = head + "".join(segment + separator for segment in segments[:dropped])
            return Roots(stack_root, source_root + "/" if source_root and source_root[-1] != "/" else source_root)
    return None
