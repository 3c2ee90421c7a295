"""The rules of derivation once more, sentence by sentence and without any index, to compare with."""

from __future__ import annotations

Roots = tuple[str, str]
Reading = tuple[str, str, str]
"""raw, normalized, stack_root."""


def extension(path: str) -> str:
    """Text after the last dot when that dot is at index 1 or more, else empty."""
    return path[path.rindex(".") + 1 :] if "." in path[1:] else ""


def read_path(raw: str) -> Reading | None:
    text = raw
    if "\\" in raw:
        text = raw.replace("\\", "/")
        if len(text) > 1 and text[1] == ":":
            text = text[2:]
            if text.startswith("/"):
                text = text[1:]
    normalized, removed, peeled = text, "", True
    while peeled:
        peeled = False
        for prefix in ("app:///", "./", "../", "/"):
            if normalized.startswith(prefix):
                normalized, removed, peeled = normalized[len(prefix) :], removed + prefix, True
    if normalized == "" or normalized[0] in "[<":
        return None
    if "http://" in normalized.lower() or "https://" in normalized.lower():
        return None
    if extension(normalized) == "":
        return None
    first = normalized.split("/")[0]
    return raw, normalized, f"/{first}/" if text.startswith("/") else removed + first


def match(file: str, path: str) -> bool:
    """The shorter is a segment-suffix of the longer."""
    shorter, longer = sorted((file.split("/"), path.split("/")), key=len)
    return longer[len(longer) - len(shorter) :] == shorter


def find_roots(raw: str, stack_root: str, file: str) -> Roots | None:  # noqa: C901  # the rules, not taken apart
    head, path = "", raw
    if path[0] in "/\\":
        head, path = path[0], path[1:]
    if path == file:
        return head, ""
    if file == "":
        return None
    if file.endswith(path):
        before = file[: len(file) - len(path)]
        if "/" not in path:
            return "", before
        return (head + stack_root + "/").replace("//", "/"), (before + stack_root + "/").replace("//", "/")
    if path.endswith(file):
        return head + path[: len(path) - len(file)], ""
    if "/" in path:
        separator = "/"
    else:
        separator = "\\"
        path = path.replace("\\", "/")
    for prefix in ("app:///", "../", "./"):
        while path.startswith(prefix):
            head, path = head + prefix, path[len(prefix) :]
    dropped: list[str] = []
    rest = path.split("/")
    while rest and not (any(rest) and file.endswith("/".join(rest))):
        dropped.append(rest.pop(0))
    if not rest:
        return None
    before = file[: len(file) - len("/".join(rest))]
    stack = separator.join(dropped) + separator if dropped else ""
    return head + stack, before if before == "" or before.endswith("/") else before + "/"


def verify(raw: str, roots: Roots, file: str) -> bool:
    stack_root, source_root = roots
    if stack_root == "":
        replaced = source_root + raw
    else:
        before, found, after = raw.partition(stack_root)
        replaced = before + source_root + after if found else raw
    return replaced.replace("\\", "/") == file
