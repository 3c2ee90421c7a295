"""Objects of a git directory, read from its files: loose ones and packs, gitformat-pack(5).

As good as another run of git for a small object, and a tenth of its time. Whatever is large, unusual or broken is not
read: git is there for that, with its limits and errors. Offsets, lengths and counts in the files are not believed, and
what is done for one object is bounded.
"""

from __future__ import annotations

import os
import stat
import struct
import zlib
from collections.abc import Collection

__all__ = ["ObjectFiles", "Unreadable"]

MAX_OBJECT_BYTES = 16 * 2**20
MAX_BYTES = 48 * 2**20  # that are read and made for a question
MAX_DELTA_BYTES = 2**20
MAX_STEPS = 100_000  # entries of trees, and instructions of deltas, which may be of a byte each
MAX_PACKS = 50
CHUNK_BYTES = 32 * 2**10
HEADER_BYTES = 32  # of a loose object
ENTRY_BYTES = 512  # what comes before the data of an object in a pack, and all of most deltas

KINDS = {1: b"commit", 2: b"tree", 3: b"blob", 4: b"tag"}
OFS_DELTA, REF_DELTA = 6, 7
FILE_MODES = {b"100644", b"100664", b"100755", b"120000"}
FOLDER_MODE = b"40000"
INDEX_HEADER = b"\377tOc\0\0\0\2"
TABLE = 8 + 4 * 256
"""Place of the ids in an index, after its header and the number of ids up to each first byte."""
LARGE = 2**31
"""Added to the places of offsets that do not fit into 31 bits."""


class Unreadable(Exception):
    """Raised for what is not read here."""


class ObjectFiles:
    """The objects of a folder ``objects``, for one question; to be closed.

    :param digits: of their ids.
    """

    def __init__(self, folder: str, digits: int) -> None:
        self._folder = folder
        self._id_bytes = digits // 2
        self._left, self._steps = MAX_BYTES, MAX_STEPS
        self._files: dict[str, int] = {}
        """Descriptors by path."""
        self._packs: list[str] | None = None
        """Paths without their ends, the one that was of use last first."""

    def close(self) -> None:
        """Close the files."""
        while self._files:
            os.close(self._files.popitem()[1])

    def file_at(self, sha: str, path: bytes) -> bytes:
        """Return the contents of a file at a commit.

        :raises Unreadable: also when there is no such commit, or no such file.
        """
        if not hasattr(os, "pread"):
            raise Unreadable("not on this system")
        try:
            kind, content = self._read(bytes.fromhex(sha))
            if kind != b"commit" or not content.startswith(b"tree "):
                raise Unreadable("not a commit")
            entry = bytes.fromhex(content[5 : 5 + 2 * self._id_bytes].decode("ascii"))
            *folders, name = path.split(b"/")
            for folder in folders:
                entry = self._entry(entry, folder, {FOLDER_MODE})
            kind, content = self._read(self._entry(entry, name, FILE_MODES))
        except (OSError, ValueError, IndexError, struct.error, zlib.error, UnicodeDecodeError) as error:
            raise Unreadable(f"{error}") from error
        if kind != b"blob":
            raise Unreadable("not a file")
        return content

    def _entry(self, tree: bytes, name: bytes, modes: Collection[bytes]) -> bytes:
        """Return the id of what a tree has under a name."""
        kind, content = self._read(tree)
        if kind != b"tree":
            raise Unreadable("not a tree")
        place = 0
        while place < len(content):
            self._step()
            end = content.index(b"\0", place)
            mode, _, found = content[place:end].partition(b" ")
            place = end + 1 + self._id_bytes
            if found == name:
                if mode not in modes or place > len(content):
                    break
                return content[end + 1 : place]
        raise Unreadable("no such file")

    def _step(self, count: int = 1) -> None:
        self._steps -= count
        if self._steps < 0:
            raise Unreadable("too much to do")

    def _read(self, name: bytes) -> tuple[bytes, bytes]:
        """Return kind and content of an object."""
        for pack in self._all_packs():
            offset = self._offset(pack, name)
            if offset is not None:
                if self._packs is not None and pack != self._packs[0]:
                    self._packs.remove(pack)
                    self._packs.insert(0, pack)
                return self._packed(pack, offset)
        digits = name.hex()
        descriptor = self._open(f"{self._folder}/{digits[:2]}/{digits[2:]}")
        header = self._inflate(descriptor, 0, HEADER_BYTES, is_whole=False)
        kind, _, size = header.partition(b"\0")[0].partition(b" ")
        start = header.index(b"\0") + 1
        if kind not in KINDS.values() or not size.isdigit():
            raise Unreadable("no object")
        return kind, self._inflate(descriptor, 0, start + int(size))[start:]

    def _all_packs(self) -> list[str]:
        if self._packs is None:
            names = [name for name in os.listdir(f"{self._folder}/pack") if name.endswith(".idx")]
            if len(names) > MAX_PACKS:
                raise Unreadable("too many packs")
            self._packs = [f"{self._folder}/pack/{name.removesuffix('.idx')}" for name in names]
        return [*self._packs]

    def _offset(self, pack: str, name: bytes) -> int | None:
        """Return where a pack has an object; None when it does not."""
        index, width = self._open(f"{pack}.idx"), self._id_bytes
        head = _at(index, 0, TABLE)
        if not head.startswith(INDEX_HEADER):
            raise Unreadable("an index of another version")
        counts = struct.unpack(">256I", head[8:])
        low, high = counts[name[0] - 1] if name[0] else 0, counts[name[0]]
        if high - low > MAX_STEPS:
            raise Unreadable("too many objects")
        names = _at(index, TABLE + low * width, (high - low) * width)
        place = names.find(name)
        while place % width and place > 0:
            place = names.find(name, place + 1)
        if place < 0:
            return None
        number, total = low + place // width, counts[255]
        offsets = TABLE + total * (width + 4)
        (offset,) = struct.unpack(">I", _at(index, offsets + number * 4, 4))
        if offset < LARGE:
            return int(offset)
        return int(struct.unpack(">Q", _at(index, offsets + total * 4 + (offset - LARGE) * 8, 8))[0])

    def _packed(self, pack: str, offset: int) -> tuple[bytes, bytes]:
        """Return an object that may be a delta of another one, and so on."""
        deltas: list[bytes] = []
        file = self._open(f"{pack}.pack")
        while True:
            self._step()
            head = _at(file, offset, ENTRY_BYTES, is_exact=False)
            kind, size, place = head[0] >> 4 & 7, head[0] & 15, 1
            while head[place - 1] & 128:
                size |= (head[place] & 127) << (7 * place - 3)
                place += 1
            if kind == OFS_DELTA:
                distance = head[place] & 127
                while head[place] & 128:
                    place += 1
                    distance = (distance + 1) << 7 | (head[place] & 127)
                deltas.append(self._inflate(file, offset + place + 1, size, head[place + 1 :]))
                if not 0 < distance < offset:
                    raise Unreadable("a delta of nothing")
                offset -= distance
            elif kind == REF_DELTA:
                base = head[place : place + self._id_bytes]
                place += len(base)
                deltas.append(self._inflate(file, offset + place, size, head[place:]))
                found = self._offset(pack, base)
                if found is None:
                    raise Unreadable("a delta of something elsewhere")
                offset = found
            else:
                content = self._inflate(file, offset + place, size, head[place:])
                while deltas:
                    content = self._patched(content, deltas.pop())
                return KINDS.get(kind, b""), content

    def _patched(self, base: bytes, delta: bytes) -> bytes:  # noqa: C901  # unrolled: it takes most of the time
        """Apply a delta: each of its instructions copies from the base, or brings bytes of its own."""
        length, place = _number(delta, 0)
        size, place = _number(delta, place)
        if length != len(base) or len(delta) > MAX_DELTA_BYTES:
            raise Unreadable("a delta of something else, or too large")
        self._spend(size)
        pieces, end, left = [], len(delta), size
        while place < end and left > 0:
            code = delta[place]
            place += 1
            if code & 128:
                start = count = 0
                if code & 1:
                    start = delta[place]
                    place += 1
                if code & 2:
                    start |= delta[place] << 8
                    place += 1
                if code & 4:
                    start |= delta[place] << 16
                    place += 1
                if code & 8:
                    start |= delta[place] << 24
                    place += 1
                if code & 16:
                    count = delta[place]
                    place += 1
                if code & 32:
                    count |= delta[place] << 8
                    place += 1
                if code & 64:
                    count |= delta[place] << 16
                    place += 1
                count = count or 0x10000
                pieces.append(base[start : start + count])
            elif code:
                count = code
                pieces.append(delta[place : place + count])
                place += count
            else:
                raise Unreadable("a reserved instruction")
            left -= count
        self._step(len(pieces))
        content = b"".join(pieces)
        if left or place != end or len(content) != size:
            raise Unreadable("a broken delta")
        return content

    def _inflate(self, file: int, offset: int, size: int, chunk: bytes = b"", *, is_whole: bool = True) -> bytes:
        """Decompress `size` bytes and the checksum after them, or without `is_whole` up to as many bytes.

        :param chunk: what is known of the file from `offset` on.
        """
        self._spend(size)
        stream, pieces, missing = zlib.decompressobj(), [], size
        offset += len(chunk)
        while not stream.eof and (missing > 0 or is_whole):
            if not chunk:
                chunk = os.pread(file, min(CHUNK_BYTES, missing + 64), offset)
                offset += len(chunk)
                self._spend(len(chunk))
            piece = stream.decompress(chunk, missing or 1)
            missing -= len(piece)
            if not chunk or missing < 0:
                break
            pieces.append(piece)
            chunk = stream.unconsumed_tail
        if is_whole and (missing or not stream.eof):
            raise Unreadable("a broken object")
        return b"".join(pieces)

    def _spend(self, size: int) -> None:
        self._left -= size
        if size > MAX_OBJECT_BYTES or self._left < 0:
            raise Unreadable("too large")

    def _open(self, path: str) -> int:
        if path not in self._files:
            # Without O_NONBLOCK, a pipe would wait for its writer.
            self._files[path] = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
            if not stat.S_ISREG(os.fstat(self._files[path]).st_mode):
                raise Unreadable("no file")
        return self._files[path]


def _at(file: int, offset: int, size: int, *, is_exact: bool = True) -> bytes:
    data = os.pread(file, size, offset)
    if is_exact and len(data) < size:
        raise Unreadable("a file that is cut")
    return data


def _number(data: bytes, place: int) -> tuple[int, int]:
    """Read a number of seven bits in each byte, and return the place after it."""
    number = 0
    for shift in range(0, 63, 7):
        number |= (data[place] & 127) << shift
        place += 1
        if not data[place - 1] & 128:
            return number, place
    raise Unreadable("too large")
