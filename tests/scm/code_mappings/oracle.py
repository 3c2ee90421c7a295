"""The rules of derivation and their amendments once more, sentence by sentence and without any index, to compare with.

Written from the rules, not from the code: every frame is compared with every file. Where the rules can be read in two
ways, all outcomes that a reader may call right are returned, with a comment that says why.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

Roots = tuple[str, str]
"""stack_root, source_root."""
Reading = tuple[str, str, str]
"""raw, normalized, stack_root."""
Frame = Mapping[str, str]
Trees = Mapping[str, set[str]]
"""owner/name of a repository on github.com → its files."""


class Row(NamedTuple):
    """A stored mapping."""

    repository: str
    stack_root: str
    source_root: str
    generated: bool


class Fate(NamedTuple):
    """What becomes of a frame: mapped, ambiguous, no match or not ours, and where the file is."""

    kind: str
    repository: str = ""
    file: str = ""


AMBIGUOUS, NO_MATCH, NOT_OURS = Fate("ambiguous"), Fate("no match"), Fate("not ours")


# Files considered

EXTENSIONS = [
    *(
        "cs",
        "fs",
        "vb",
        "ps1",
        "csx",
        "fsx",
        "go",
        "java",
        "kt",
        "kts",
        "jsp",
        "scala",
        "sc",
        "js",
        "jsx",
        "mjs",
        "tsx",
    ),
    *("ts", "php", "py", "rb", "rake", "clj", "cljs", "cljc", "groovy"),
    # Amendment 8.
    *("rs", "swift", "dart", "ex", "exs", "c", "h", "cc", "cpp", "hpp", "m", "mm", "vue", "svelte"),
]


def extension(path: str) -> str:
    """Text after the last dot when that dot is at index 1 or more, else empty."""
    return path[path.rindex(".") + 1 :] if "." in path[1:] else ""


def considered(file: str) -> bool:
    return extension(file) in EXTENSIONS and not file.endswith("spec.jsx") and not file.startswith("tests/")


# Reading a frame


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


def read_module(module: str, abs_path: str) -> Reading | None:
    """Java: module + abs_path."""
    if "$" in abs_path or "." not in abs_path:
        path = module.split("$")[0].replace(".", "/")
        return path, path, "/".join(module.split(".")[:-1]) + "/"
    if "." not in module:
        return None
    package = module.split(".")[:-1]
    path = "/".join([*package, abs_path])
    return path, path, "/".join(package[:4]) + "/"


# Deciding


def match(file: str, path: str) -> bool:
    """The shorter is a segment-suffix of the longer."""
    shorter, longer = sorted((file.split("/"), path.split("/")), key=len)
    return longer[len(longer) - len(shorter) :] == shorter


def common_tail(file: str, path: str) -> int:
    """Number of segments that both end with."""
    pairs = zip(reversed(file.split("/")), reversed(path.split("/")), strict=False)
    return len(list(itertools.takewhile(lambda pair: pair[0] == pair[1], pairs)))


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


def keep_first_folder(raw: str, roots: Roots) -> Roots | None:
    """Amendment 2: '' → '' keeps its first folder in both; of a bare file name nothing is stored."""
    if roots[0]:
        return roots
    first, slash, _ = raw.partition("/")
    return (first + slash, roots[1] + first + slash) if slash else None


def without_tests(files: Iterable[str]) -> set[str]:
    """Amendment 3: where `src/main/` and `src/test/` both have the file, it is that of `src/main/`."""
    files = set(files)
    return {
        file
        for file in files
        if not any(
            "/".join([*parts[:at], "src/main", *parts[at + 2 :]]) in files
            for parts in [file.split("/")]
            for at in range(len(parts) - 1)
            if parts[at : at + 2] == ["src", "test"]
        )
    }


Candidates = set[tuple[str, str]]
"""Repositories and files."""


def choose(trees: Trees, fits: Candidates) -> set[Fate]:
    """Exactly one file of a repository, else it contributes nothing; exactly one repository."""
    found = {name: without_tests(file for owner, file in fits if owner == name) for name in trees}
    if not any(found.values()):
        return {NO_MATCH}
    single = [Fate("mapped", name, *files) for name, files in found.items() if len(files) == 1]
    if len(single) != 1:
        return {AMBIGUOUS}
    # A repository with two files contributes nothing, says the rule; "two files with that end, in one repository or in
    # two, are ambiguous", say the rules of judgement.
    return {*single, AMBIGUOUS} if sum(map(len, found.values())) > 1 else {*single}


def decide(trees: Trees, reading: Reading) -> set[Fate]:
    """The file of a frame by itself."""
    raw, path, _ = reading
    files = {(name, file) for name, tree in trees.items() for file in tree if considered(file)}
    if "/" not in path:
        # Amendment 5: a file at the top matches a bare file name.
        top = {(name, file) for name, file in files if file == path}
        below = {(name, file) for name, file in files if file != path and match(file, path)}
        if raw != path:
            # Whether `/x.py` is a bare name is nowhere said; "the name of the file alone decides nothing".
            return choose(trees, top) | choose(trees, top | below) | {NO_MATCH}
        # The rules find `x.py` in `a/x.py`; "the name of the file alone decides nothing", and "a relative path without
        # folders is that file" at the top, say the rules of judgement.
        return choose(trees, top) | (choose(trees, top | below) if below else set())
    # Amendment 5: otherwise a file at the top matches only below a folder that something else ties to its repository.
    fits = {(name, file) for name, file in files if "/" in file and match(file, path)}
    # Amendment 4: where neither is the end of the other, a common tail of two or more segments.
    tails = {place: common_tail(place[1], path) for place in files - fits}
    longest = max(tails.values(), default=0)
    near = {place for place, length in tails.items() if length == longest and length >= 2}
    fates = choose(trees, fits or near)
    if fits and near and longest > min(common_tail(file, path) for _, file in fits):
        # Another file has more of the path than the one that is its end: it contradicts, or not.
        fates |= choose(trees, near) | {AMBIGUOUS}
    if len(fits) > 1:
        # Of several files that are ends of a path, the longest has a common end that is unique.
        length = max(common_tail(file, path) for _, file in fits)
        fates |= choose(trees, {place for place in fits if common_tail(place[1], path) == length})
    return {fate if fate.kind != "mapped" or leads_to(reading, fate.file) else NO_MATCH for fate in fates}


def leads_to(reading: Reading, file: str) -> bool:
    """Verified: a file whose roots do not lead to it contributes nothing."""
    raw, _, stack_root = reading
    roots = find_roots(raw, stack_root, file)
    return roots is not None and verify(raw, roots, file)


# Amendment 6: libraries are not ours

LIBRARIES = re.compile(
    r"(?:^|/)(?:"
    # CPython, PyPy, conda, pyenv, uv, Nix, Homebrew.
    r"lib(?:64)?/(?:python|pypy)\d\.\d+/(?!(?:site|dist)-packages/)"
    # Windows.
    r"|Python\d+/Lib/(?!site-packages/)"
    # Go's own tree and toolchains.
    r"|usr/local/go/src/|Program Files/Go/src/|libexec/src/|pkg/mod/golang\.org/toolchain@[^/]+/"
    r")"
)
# Of the JDK, and of Kotlin, which the cases have too.
JDK = re.compile(r"(?:java|javax|jdk|sun|kotlin)\.")


def is_library(frame: Frame, path: str) -> bool:
    if frame.get("platform") == "java" and frame.get("module"):
        return JDK.match(frame["module"]) is not None
    return LIBRARIES.search(path.replace("\\", "/")) is not None


def find_packaged(trees: Trees, path: str) -> set[Fate] | None:
    """Ours when the path below the package folder, with the package's own name, is a file of a repository."""
    path = path.replace("\\", "/")
    if found := re.search(r".*(?:^|/)(?:(?:site|dist)-packages|[^/]+\.zip)/(.+)$", path):
        below = found[1]
        fits = {(name, file) for name, tree in trees.items() for file in tree if f"/{file}".endswith(f"/{below}")}
        if "/" not in below:
            # A package of one file has no name but its file's: that at the top or in `src/`, any, or none.
            near = {place for place in fits if place[1] in (below, f"src/{below}")}
            return choose(trees, near) | choose(trees, fits) | {NOT_OURS} if fits else {NOT_OURS}
    elif found := re.search(r".*(?:^|/)pkg/mod/([^/]+)/([^/]+/[^/@]+)@[^/]+/(.+)$", path):
        # host/org/module is the repository.
        fits = {(found[2], found[3])} if found[1] == "github.com" and found[3] in trees.get(found[2], ()) else set()
    elif found := re.search(r".*(?:^|/)node_modules/@([^/]+)/([^/]+)/(.+)$", path):
        # The scope is the owner; the package is the repository, or a folder of it.
        scope, package, below = found.groups()
        own = {name: tree for name, tree in trees.items() if name.split("/")[0] == scope}
        fits = {
            (name, file) for name, tree in own.items() for file in tree if f"/{file}".endswith(f"/{package}/{below}")
        }
        whole = {(name, below) for name, tree in own.items() if name == f"{scope}/{package}" and below in tree}
        if fits and whole:
            # Nothing says which goes first.
            return choose(trees, fits) | choose(trees, whole) | choose(trees, fits | whole) | {AMBIGUOUS}
        fits |= whole
    elif found := re.search(r".*(?:^|/)node_modules/(.+)$", path):
        # Without a scope there is no owner: somebody else's, or ours by the package's own name.
        fits = {(name, file) for name, tree in trees.items() for file in tree if f"/{file}".endswith(f"/{found[1]}")}
        return choose(trees, fits) | {NOT_OURS} if fits else {NOT_OURS}
    else:
        return None
    if not fits:
        return {NOT_OURS}
    # Only files that are considered; whether those that are not count is nowhere said.
    fates = choose(trees, {place for place in fits if considered(place[1])})
    return fates if all(considered(file) for _, file in fits) else fates | choose(trees, fits) | {NOT_OURS}


# Applying a stored mapping


def apply(path: str, stack_root: str, source_root: str) -> str | None:
    if stack_root == "":
        # Amendment 2: no absolute path, no URL, no <frozen …>.
        if path[0] in "/\\<" or path[1:2] == ":" or ":/" in path:
            return None
        return (source_root + path).replace("\\", "/")
    if not path.startswith(stack_root):
        return None
    rest = path[len(stack_root) :]
    if rest and stack_root[-1] not in "/\\" and rest[0] not in "/\\":
        return None
    file = (source_root + rest).replace("\\", "/")
    return file[1:] if file.startswith("/") else file


def cover(trees: Trees, rows: Iterable[Row], path: str) -> Fate | None:
    """User rows first, then longer roots; amendment 1: a row that leads to no file does not cover."""
    for row in sorted(rows, key=lambda row: (row.generated, -len(row.stack_root))):
        file = apply(path, row.stack_root, row.source_root)
        if file is not None and file in trees[row.repository]:
            return Fate("mapped", row.repository, file)
    return None


def is_dead(trees: Trees, row: Row) -> bool:
    """A generated mapping below whose source root no file of the tree lies any more may be replaced."""
    return row.generated and not any(file.startswith(row.source_root) for file in trees[row.repository])


# The whole: what becomes of each frame, and what is stored


class Decided(NamedTuple):
    """A frame whose file was found by derivation, and the chain of its roots, from the shortest."""

    raw: str
    bucket: str
    fate: Fate
    chain: list[Roots]
    installed: bool


class Judged(NamedTuple):
    """All right outcomes of a frame; what was decided of it, when there is no doubt about it."""

    fates: set[Fate]
    decided: Decided | None
    sure: bool


def lengthen(raw: str, roots: Roots) -> Iterator[Roots]:
    """The roots, and with each folder of the path that comes after."""
    stack_root, source_root = roots
    yield roots
    for folder in re.findall(r"[^/\\]*[/\\]", raw[len(stack_root) :]):
        stack_root, source_root = stack_root + folder, source_root + folder.replace("\\", "/")
        yield stack_root, source_root


def to_decided(reading: Reading, fate: Fate, installed: bool) -> Decided:
    raw, _, bucket = reading
    roots = find_roots(raw, bucket, fate.file)
    roots = roots and keep_first_folder(raw, roots)
    chain = list(lengthen(raw, roots)) if roots else []
    return Decided(raw, bucket, fate, chain, installed)


def readings_of(frame: Frame) -> list[Reading | None]:
    if frame.get("platform") == "java" and frame.get("module"):
        return [read_module(frame["module"], frame["abs_path"])]
    # Amendment 7: abs_path too, when path alone decides nothing.
    return [read_path(path) for path in (frame.get("path"), frame.get("abs_path")) if path]


def texts_of(frame: Frame) -> list[str]:
    if frame.get("platform") == "java" and frame.get("module"):
        reading = read_module(frame["module"], frame["abs_path"])
        return [reading[0]] if reading else []
    return [path for path in (frame.get("path"), frame.get("abs_path")) if path]


def judge_alone(trees: Trees, rows: Sequence[Row], frame: Frame, text: str, reading: Reading | None) -> Judged:
    """One text of a frame, without the other frames."""
    covered = cover(trees, rows, text)
    if covered:
        # A user's mapping comes first. Nothing says whether a generated one may claim what is not ours, or unreadable.
        doubt = is_library(frame, text) or find_packaged(trees, text) is not None or reading is None
        other = {NOT_OURS} if doubt else set()
        twin = covered.file.replace("src/test/", "src/main/")
        says_test = "src/test/" in text.replace("\\", "/")
        if reading and not says_test and twin != covered.file and twin in trees[covered.repository]:
            # "Where `src/main/` and `src/test/` both have the file, it is that of `src/main/`": as of a derived path.
            doubt, other = True, other | decide(trees, reading)
        return Judged({covered} | other, None, not doubt)
    empty = [row for row in rows if row.stack_root == ""]
    if text.startswith("./") and (covered := cover(trees, empty, text.removeprefix("./"))):
        # As it is written, '' does not lead `./x` to `x`; but `./x` is a relative path whose file is there.
        return Judged({covered, *judge_alone(trees, [], frame, text, reading).fates}, None, sure=False)
    if is_library(frame, text):
        return Judged({NOT_OURS}, None, sure=True)
    packaged = find_packaged(trees, text)
    if reading is None:
        # Unsupported; but an installed script without an extension is a file of an organization's repository.
        return Judged({NOT_OURS, *(packaged or ())}, None, sure=packaged in (None, {NOT_OURS}))
    fates = decide(trees, reading) if packaged is None else packaged
    sure = len(fates) == 1
    fate = next(iter(fates))
    decided = to_decided(reading, fate, packaged is not None) if sure and fate.kind == "mapped" else None
    return Judged(fates, decided, sure)


def lead(trees: Trees, decided: Iterable[Decided], text: str) -> dict[str, set[Fate]]:
    """Amendments 4 and 5: where the roots of other frames lead a path, if the file is there."""
    found: dict[str, set[Fate]] = {}
    for other in decided:
        if other.raw == text or other.installed or not other.chain:
            continue
        stack_root, source_root = other.chain[0]
        file = apply(text, stack_root, source_root)
        if file is not None and file in trees[other.fate.repository]:
            found.setdefault(stack_root, set()).add(Fate("mapped", other.fate.repository, file))
    return found


def judge_texts(frame: Frame, judged: Sequence[Judged]) -> Judged:
    """A frame by its path, then by its absolute path."""
    first, *more = judged
    if not more:
        return first
    second = more[0]
    kinds = {fate.kind for fate in first.fates}
    if kinds == {"mapped"} and first.fates == second.fates:
        return first
    if "mapped" not in kinds and second.sure and {fate.kind for fate in second.fates} == {"mapped"}:
        return second
    # "When path alone decides nothing", but also "decided by the latter" when the path is a bare name; which of two
    # reasons for having no file is told, and whether a library's absolute path outweighs the path, is nowhere said.
    sure = first.sure and second.sure and "mapped" not in kinds
    return Judged(first.fates | second.fates, None, sure)


class Verdict(NamedTuple):
    fates: list[set[Fate]]
    """For each frame, all that are right."""
    required: list[set[Row]]
    """Of each of these, one is stored in the end."""
    permitted: set[Row]
    """What may be new."""
    replaceable: set[Row]


def judge(trees: Trees, rows: Sequence[Row], frames: Sequence[Frame]) -> Verdict:
    texts = [texts_of(frame) for frame in frames]
    alone = [
        [
            judge_alone(trees, rows, frame, text, reading)
            for text, reading in zip(texts_of(frame), readings_of(frame), strict=True)
        ]
        for frame in frames
    ]
    judged = [
        judge_texts(frame, each) if each else Judged({NOT_OURS}, None, True)
        for frame, each in zip(frames, alone, strict=True)
    ]
    sure = [each.decided for each in judged if each.decided]
    # What may have been decided of frames about which there is doubt, and the roots that it has.
    possible = [
        to_decided(reading or (text, text, ""), fate, installed=False)
        for frame in frames
        for text, reading in zip(texts_of(frame), readings_of(frame), strict=True)
        for fate in sorted(judge_alone(trees, [], frame, text, reading).fates)
        if fate.kind == "mapped"
    ]
    fates, followers = [], []
    for each, paths in zip(judged, texts, strict=True):
        if each.fates == {NOT_OURS} or (each.sure and any(fate.kind == "mapped" for fate in each.fates)):
            fates.append(each.fates)
            continue
        led: dict[str, set[Fate]] = {}
        maybe: dict[str, set[Fate]] = {}
        for path in paths:
            for found, decided in ((led, sure), (maybe, possible)):
                for root, ends in lead(trees, decided, path).items():
                    found.setdefault(root, set()).update(ends)
        ends = {end for each_root in led.values() for end in each_root}
        more = {end for each_root in maybe.values() for end in each_root} | ends
        followed = [
            to_decided(reading, end, installed=False)
            for path in paths
            if (reading := read_path(path))
            for end in sorted(more)
            if common_tail(end.file, reading[1])
        ]
        if each.sure and len(ends) == 1 and more == ends and is_settled(led, sure, ends):
            fates.append(ends)
            followers += [other for other in followed if other.raw == paths[0]]
        else:
            # Roots that disagree, of frames about which there is doubt, or to files that are not considered.
            fates.append(each.fates | more | ({AMBIGUOUS} if len(more) > 1 else set()))
        possible += followed
    covered = [
        Decided(path, "", fate, [], installed=False)
        for paths in texts
        for path in paths
        if (fate := cover(trees, rows, path))
    ]
    return Verdict(fates, *judge_storage(trees, rows, [*sure, *followers], possible, covered))


def is_settled(led: dict[str, set[Fate]], decided: Iterable[Decided], ends: set[Fate]) -> bool:
    """No other frame leads the same root elsewhere, and the file is one that is considered."""
    targets = {(each.chain[0], each.fate.repository) for each in decided if each.chain and each.chain[0][0] in led}
    return len(targets) == len(led) and all(considered(end.file) for end in ends)


# Storing


def leads_astray(repository: str, roots: Roots, other: Decided) -> bool:
    file = apply(other.raw, *roots)
    return file is not None and (repository, file) != (other.fate.repository, other.fate.file)


def judge_storage(
    trees: Trees, rows: Sequence[Row], sure: Sequence[Decided], possible: Sequence[Decided], covered: Sequence[Decided]
) -> tuple[list[set[Row]], set[Row], set[Row]]:
    """Amendments 1 and 3: the shortest folder roots that tell frames apart, and that no other row has."""
    taken = {row.stack_root for row in rows if not is_dead(trees, row)}
    free = [[roots for roots in each.chain if roots[0] not in taken] for each in sure]
    # Frames that no folder tells from the others are not stored; whether others need be told from them is nowhere said.
    unstored = {each.raw for each, chain in zip(sure, free, strict=True) if find_shortest(each, chain, sure)[0] is None}
    required: list[set[Row]] = []
    permitted: set[Row] = set()
    for each, chain in zip(sure, free, strict=True):
        # Whether it is told from frames that are covered, and from those about which there is doubt, is nowhere said.
        strict = find_shortest(each, chain, [*sure, *covered])[0]
        loose = find_shortest(each, chain, [other for other in sure if other.raw not in unstored])[1]
        if strict is None and "src/main/" in f"/{each.fate.file}":
            # No folder tells it from a test: the root of `src/main` is stored.
            mains = [other for other in sure if "src/test/" not in other.fate.file]
            alone, loose = find_shortest(each, chain, mains)
            strict = len(chain) - 1 if alone is not None else None
        right = chain[loose or 0 : None if strict is None else strict + 1]
        if each.installed:
            right = chain  # nothing says how much of an installed package's path its root has
        own = {Row(each.fate.repository, *roots, True) for roots in right}
        permitted |= own
        if strict is not None:
            required.append(own)
    if {(each.raw, each.fate) for each in possible} - {(each.raw, each.fate) for each in sure}:
        # Frames about which there is doubt may or may not be told from the others.
        required = []
        permitted |= {Row(each.fate.repository, *roots, True) for each in possible for roots in each.chain}
    return required, permitted, {row for row in rows if is_dead(trees, row)}


def find_shortest(each: Decided, free: Sequence[Roots], others: Sequence[Decided]) -> tuple[int | None, int | None]:
    """Give the first root that leads no other frame astray; the first that leads none whose own root is not longer."""
    name, others = each.fate.repository, [other for other in others if other.raw != each.raw]
    strict = [at for at, roots in enumerate(free) if not any(leads_astray(name, roots, other) for other in others)]
    loose = [
        at
        for at, roots in enumerate(free)
        if not any(
            leads_astray(name, roots, other) and (not other.chain or len(other.chain[0][0]) <= len(roots[0]))
            for other in others
        )
    ]
    return min(strict, default=None), min(loose, default=None)
