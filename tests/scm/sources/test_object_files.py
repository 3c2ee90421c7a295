"""Objects that are read from the files of git are those of git, and nothing in the files does harm."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import struct
import subprocess
import zlib
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path

import pytest

from flask_grpcweb_scm.scm.sources import object_files
from flask_grpcweb_scm.scm.sources.object_files import ObjectFiles, Unreadable
from tests.scm.support import GitRepository, build_history, numbered


def read(repository: GitRepository, sha: str, path: str) -> bytes:
    with closing(ObjectFiles(f"{repository.path}/.git/objects", len(sha))) as objects:
        return objects.file_at(sha, path.encode("utf-8", "surrogateescape"))


def files_of(repository: GitRepository) -> list[tuple[str, str, str]]:
    """Commit, path and blob of all files."""
    found = []
    for sha in repository.git("rev-list", "--all").split():
        for entry in filter(None, repository.git("ls-tree", "-r", "-z", sha).split("\0")):
            attributes, _, path = entry.partition("\t")
            found.append((sha, path, attributes.split()[2]))
    return found


def contents_of(repository: GitRepository, blobs: Iterable[str]) -> dict[str, bytes]:
    """Contents by blob, of one process of git."""
    wanted = "".join(f"{blob}\n" for blob in blobs).encode()
    shown = subprocess.run(
        ["git", "cat-file", "--batch"], cwd=repository.path, input=wanted, check=True, stdout=subprocess.PIPE
    ).stdout
    found, start = {}, 0
    while start < len(shown):
        end = shown.index(b"\n", start)
        blob, kind, size = shown[start:end].decode().split()
        assert kind == "blob"
        start = end + 1 + int(size) + 1
        found[blob] = shown[end + 1 : start - 1]
    return found


WAYS: dict[str, list[list[str]]] = {
    "loose": [],
    "packed": [["repack", "-a", "-d", "-f", "-q", "--depth=50"]],
    "packed, deltas by id": [["config", "repack.useDeltaBaseOffset", "false"], ["repack", "-a", "-d", "-f", "-q"]],
    "several packs": [
        ["repack", "-d", "-q"],
        ["commit", "--allow-empty", "-q", "-m", "one more"],
        ["repack", "-d", "-q"],
    ],
    "packed with an index of many": [["repack", "-a", "-d", "-q"], ["multi-pack-index", "write"]],
    "loose and uncompressed": [["config", "core.compression", "0"], ["commit", "--allow-empty", "-q", "-m", "0"]],
}


@pytest.fixture(scope="module", params=[40, 64])
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> GitRepository:
    """A repository with ids of so many digits, to be copied."""
    repository = GitRepository(tmp_path_factory.mktemp("written") / "git")
    if request.param == 64:
        shutil.rmtree(repository.path / ".git")
        repository.git("init", "-q", "--initial-branch=main", "--template=", "--object-format=sha256")
    repository.write("many", "".join(hashlib.sha256(b"%d" % number).hexdigest() + "\n" for number in range(3000)))
    repository.write("empty", "")
    repository.write("folder/40000 x", "like a mode\n")
    repository.write("folder/sub/sub/deep \n \xff.txt".encode("latin-1").decode("utf-8", "surrogateescape"), b"\0\xff")
    build_history(repository)
    return repository


def copied(repository: GitRepository, path: Path) -> GitRepository:
    copy = GitRepository.__new__(GitRepository)
    copy.path = path
    shutil.copytree(repository.path, path, symlinks=True)
    return copy


@pytest.mark.parametrize("commands", WAYS.values(), ids=WAYS)
def test_every_file_of_every_commit(tmp_path: Path, written: GitRepository, commands: list[list[str]]) -> None:
    repository = copied(written, tmp_path / "copy")
    for command in commands:
        repository.git(*command)
    files = files_of(repository)
    assert len(files) > 60
    contents = contents_of(repository, {blob for _, _, blob in files})
    for sha, path, blob in files:
        assert read(repository, sha, path) == contents[blob]


@pytest.fixture(scope="module")
def in_a_pack(tmp_path_factory: pytest.TempPathFactory) -> GitRepository:
    """To be copied."""
    repository = GitRepository(tmp_path_factory.mktemp("packed") / "git")
    repository.write("folder/f", numbered(1, 2000))
    repository.commit()
    repository.write("folder/f", numbered(1, 2000) + "more\n")
    repository.commit()
    repository.git("repack", "-a", "-d", "-q", "-f")
    return repository


@pytest.fixture
def packed(tmp_path: Path, in_a_pack: GitRepository) -> tuple[GitRepository, str]:
    copy = copied(in_a_pack, tmp_path / "copy")
    return copy, copy.head()


@pytest.mark.parametrize(
    "path", ["", "folder", "absent", "folder/absent", "folder/f/x", "folder//f", "/folder/f", "f", "older/f", "module"]
)
def test_what_is_no_file_is_for_git(packed: tuple[GitRepository, str], path: str) -> None:
    repository, sha = packed
    repository.git("update-index", "--add", "--cacheinfo", f"160000,{sha},module")
    repository.git("commit", "-q", "-m", "a submodule")
    with pytest.raises(Unreadable):
        read(repository, repository.head(), path)


@pytest.mark.parametrize("revision", ["v1", "main^{tree}", "main:folder/f", "absent"])
def test_what_is_no_commit_is_for_git(packed: tuple[GitRepository, str], revision: str) -> None:
    repository, _ = packed
    repository.git("tag", "--annotate", "--message=tag", "v1")
    sha = "f" * 40 if revision == "absent" else repository.git("rev-parse", revision)
    with pytest.raises(Unreadable):
        read(repository, sha, "folder/f")


@pytest.mark.parametrize(
    ("limit", "value"),
    [("MAX_OBJECT_BYTES", 10_000), ("MAX_BYTES", 20_000), ("MAX_STEPS", 3), ("MAX_PACKS", 0)],
)
def test_what_is_large_is_for_git(
    packed: tuple[GitRepository, str], limit: str, value: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert read(*packed, "folder/f").endswith(b"more\n")
    monkeypatch.setattr(object_files, limit, value)
    with pytest.raises(Unreadable):
        read(*packed, "folder/f")


def test_an_index_of_the_first_version_is_for_git(packed: tuple[GitRepository, str]) -> None:
    repository, sha = packed
    (pack,) = (repository.path / ".git/objects/pack").glob("*.pack")
    index = pack.with_suffix(".idx")
    index.unlink()
    repository.git("index-pack", "--index-version=1", "-o", str(index), str(pack))
    with pytest.raises(Unreadable):
        read(repository, sha, "folder/f")


@pytest.mark.parametrize("kind", ["*.pack", "*.idx"])
def test_files_that_are_pipes_are_for_git(packed: tuple[GitRepository, str], kind: str) -> None:
    repository, sha = packed
    (file,) = (repository.path / ".git/objects/pack").glob(kind)
    file.unlink()
    os.mkfifo(file)
    with pytest.raises(Unreadable):
        read(repository, sha, "folder/f")


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("kind", ["*.pack", "*.idx", "??/*"])
def test_damaged_files_are_for_git(tmp_path: Path, damaged: GitRepository, kind: str, seed: int) -> None:
    """With a few other bytes, or cut: what is read all the same is right, for each object has a checksum."""
    copy = copied(damaged, tmp_path / "copy")
    sha = (copy.path / ".git/refs/heads/main").read_text().strip()
    chance = random.Random(f"{kind} {seed}")  # the same every time
    objects = copy.path / ".git/objects"
    files = sorted((objects / "pack").glob(kind)) if "*." in kind else sorted(objects.glob("[0-9a-f][0-9a-f]/*"))
    if "*." in kind:
        shutil.rmtree(objects / sha[:2])
    else:
        shutil.rmtree(objects / "pack")
        (objects / "pack").mkdir()
    for file in files:
        data = bytearray(file.read_bytes())
        for _ in range(chance.choice([1, 3, 30])):
            data[chance.randrange(len(data))] = chance.randrange(256)
        file.chmod(0o644)
        file.write_bytes(data[: chance.choice([len(data), chance.randrange(len(data))])])
    for path in ("folder/f", "f"):
        try:
            text = read(copy, sha, path)
        except Unreadable:
            continue
        assert text in {numbered(1, 2000).encode(), numbered(1, 2000).encode() + b"more\n", b"small\n"}


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> GitRepository:
    """A repository whose objects are in a pack, and again as loose ones."""
    repository = GitRepository(tmp_path_factory.mktemp("damaged") / "git")
    repository.write("folder/f", numbered(1, 2000))
    repository.write("f", "small\n")
    repository.commit()
    repository.write("folder/f", numbered(1, 2000) + "more\n")
    repository.commit()
    repository.git("repack", "-a", "-q", "-f")
    return repository


def write_pack(repository: GitRepository, objects: dict[bytes, bytes]) -> None:
    """Write a pack with these entries by id, and its index; checksums that git would look at are left out."""
    pack, offsets = bytearray(b"PACK" + struct.pack(">II", 2, len(objects))), {}
    for name, entry in objects.items():
        offsets[name] = len(pack)
        pack += entry
    names = sorted(objects)
    counts = [sum(name[0] <= first for name in names) for first in range(256)]
    index = b"\377tOc" + struct.pack(">I256I", 2, *counts) + b"".join(names) + bytes(4 * len(names))
    index += b"".join(struct.pack(">I", offsets[name]) for name in names) + bytes(40)
    folder = repository.path / ".git/objects/pack"
    folder.mkdir(exist_ok=True)
    (folder / "pack-x.pack").write_bytes(pack + bytes(20))
    (folder / "pack-x.idx").write_bytes(index)


def entry(kind: int, size: int, data: bytes, between: bytes = b"") -> bytes:
    head = bytearray([kind << 4 | size & 15])
    size >>= 4
    while size:
        head[-1] |= 128
        head.append(size & 127)
        size >>= 7
    return bytes(head) + between + data


NAME = bytes(range(20))
BOMBS: dict[str, Callable[[], dict[bytes, bytes]]] = {
    "a delta of itself": lambda: {NAME: entry(7, 4, zlib.compress(b"\1\1\1a"), NAME)},
    "a delta of what comes after it": lambda: {NAME: entry(6, 4, zlib.compress(b"\1\1\1a"), b"\x00")},
    "a delta of more than there is": lambda: {NAME: entry(6, 4, zlib.compress(b"\1\1\1a"), b"\xff" * 30)},
    "two deltas of each other": lambda: {
        NAME: entry(7, 4, zlib.compress(b"\1\1\1a"), NAME[::-1]),
        NAME[::-1]: entry(7, 4, zlib.compress(b"\1\1\1a"), NAME),
    },
    "a size of a hundred digits": lambda: {NAME: bytes([0xB0]) + b"\xff" * 50 + b"\x01" + zlib.compress(b"x")},
    "a size without an end": lambda: {NAME: b"\xff" * 200},
    "more than its size": lambda: {NAME: entry(3, 10, zlib.compress(bytes(20 * 2**20)))},
    "a stream of nothing": lambda: {NAME: entry(3, 10, b"x\x9c" + b"\0\0\0\xff\xff" * 4_000_000)},
    "an unknown kind": lambda: {NAME: entry(5, 1, zlib.compress(b"x"))},
}


@pytest.mark.needs("time")
@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS)
def test_packs_that_mean_harm_are_for_git(tmp_path: Path, bomb: Callable[[], dict[bytes, bytes]]) -> None:
    repository = GitRepository(tmp_path / "git")
    write_pack(repository, bomb())
    with pytest.raises(Unreadable):
        read(repository, NAME.hex(), "f")


def delta(base: int, size: int, steps: bytes) -> bytes:
    def number(value: int) -> bytes:
        data = bytearray([value & 127])
        while value := value >> 7:
            data[-1] |= 128
            data.append(value & 127)
        return bytes(data)

    return number(base) + number(size) + steps


@pytest.mark.parametrize(
    ("steps", "size"),
    [
        (b"\1a" * 500_000, 500_000),  # so many steps
        (b"\x80" * 200, 200 * 0x10000),  # more than the base has
        (b"\0", 1),  # reserved
        (b"\5ab", 5),  # fewer bytes than it says
        (b"\2ab", 1),  # more bytes than it says
        (b"\1a", 2),
        (b"", 2**40),
    ],
)
def test_deltas_that_mean_harm_are_for_git(tmp_path: Path, steps: bytes, size: int) -> None:
    repository = GitRepository(tmp_path / "git")
    base = b"tree " + b"0" * 40 + b"\n"
    patch = delta(len(base), size, steps)
    other = NAME[::-1]
    write_pack(
        repository,
        {other: entry(1, len(base), zlib.compress(base)), NAME: entry(7, len(patch), zlib.compress(patch), other)},
    )
    with pytest.raises(Unreadable):
        read(repository, NAME.hex(), "f")
