"""The file of an SQLite database, which somebody may delete or replace while a server has it open.

A connection keeps the file that it has opened, whatever becomes of its path: it would acknowledge writes that nobody
can ever read. So each checkout compares the path with that file, and each commit of a write does so once more.
"""

from __future__ import annotations

import os
import sqlite3
import stat
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import sqlalchemy as sa

from flask_grpcweb_scm.transactions.deadlines import is_in_call

__all__ = ["create_folder", "watch_file"]

OWNER_ONLY = 0o600


def watch_file(engine: sa.Engine) -> None:
    """Have connections replaced once their path is that of another file, and refused as long as it is that of none.

    The refusal is an OperationalError, as for any file that cannot be opened. Databases in memory, and those named by a
    URI, are not watched. A file that is deleted is not made anew, unless the engine is disposed of.
    """
    if engine.dialect.driver != "pysqlite":  # another module has connections of its own
        return
    file = _File()
    sa.event.listen(engine, "do_connect", file.before_connect)
    sa.event.listen(engine, "connect", file.after_connect)
    sa.event.listen(engine, "checkout", file.check)
    sa.event.listen(engine, "engine_disposed", file.forget)


class _Inode:
    """Device and inode of a file. On Linux no other file gets them while this object exists."""

    def __init__(self, path: str) -> None:
        self._path = path
        # A descriptor that is good for nothing else: closing one that can read would end SQLite's locks.
        self._held = os.open(path, os.O_PATH) if hasattr(os, "O_PATH") else None
        status = os.stat(path if self._held is None else self._held)
        self._identity = status.st_dev, status.st_ino

    def __del__(self) -> None:
        held = getattr(self, "_held", None)
        if held is not None:
            os.close(held)

    def is_there(self) -> bool:
        """Tell whether the path is still that of this file."""
        try:
            status = os.stat(self._path)
        except FileNotFoundError:
            return False
        return (status.st_dev, status.st_ino) == self._identity


class _Connection(sqlite3.Connection):
    """A connection that knows its file."""

    path = ""
    inode: _Inode | None = None

    def commit(self) -> None:
        """Commit, and check that the file is the one of the path.

        :raises sqlite3.OperationalError: when it is not.
        """
        has_written = self.in_transaction
        super().commit()
        if has_written and self.is_lost():
            raise _cannot_open(f"{self.path} was deleted or replaced, and the changes are lost with it")

    def is_lost(self) -> bool:
        """Tell whether the path is that of another file or of none."""
        return self.inode is not None and not self.inode.is_there()


class _File:
    """The file of an engine's database, and its write-ahead log, as the last connection found them."""

    def __init__(self) -> None:
        self._path = ""
        self._inode: _Inode | None = None
        self._log: _Inode | None = None

    def before_connect(
        self, dialect: sa.Dialect, record: object, arguments: list[Any], options: dict[str, Any]
    ) -> None:
        """Refuse a path where SQLite would make a new file, or take the log of another file for that of this one.

        :raises sqlite3.OperationalError: see there.
        """
        options.setdefault("factory", _Connection)
        path = os.fspath(arguments[0]) if arguments else ""
        if path != self._path:
            self.forget()
            self._path = "" if path == ":memory:" or path.startswith("file:") else path
        elif self._inode is not None and not self._inode.is_there():
            if not os.path.exists(path):
                raise _cannot_open(f"{path} was deleted")
            if self._log is not None and self._log.is_there():
                text = f"{path} was replaced, but not its log; if it came without one, remove {path}-wal and {path}-shm"
                raise _cannot_open(text)
        if self._inode is None and (file := _file_of(path)) and not is_in_call():
            _create(file)

    def after_connect(self, connection: object, record: object) -> None:
        """Remember which file a connection has."""
        if self._path and isinstance(connection, _Connection):
            inode = _find(self._path)
            connection.path, connection.inode = self._path, inode
            self._inode, self._log = inode, _find(f"{self._path}-wal")

    def check(self, connection: object, record: object, fairy: object) -> None:
        """Have all connections replaced when one does not have the file of the path.

        :raises InvalidatePoolError: for the pool, which opens a new one then.
        """
        if not isinstance(connection, _Connection):
            return
        if connection.is_lost():
            raise sa.exc.InvalidatePoolError(f"{connection.path} was deleted or replaced")
        if self._log is None and self._path:  # it comes with the first transaction
            self._log = _find(f"{self._path}-wal")

    def forget(self, engine: sa.Engine | None = None) -> None:
        """Begin as if there had been no connection."""
        self._path, self._inode, self._log = "", None, None


def _create(path: str) -> None:
    """Make the file for its owner alone, if there is none; SQLite gives its log and index the same permissions."""
    try:
        # Without a descriptor: closing one would end locks that another thread has meanwhile.
        os.mknod(path, stat.S_IFREG | OWNER_ONLY)
    except (AttributeError, PermissionError):  # not on every system
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL, OWNER_ONLY))
        except OSError:
            return
    except OSError:
        # It exists, or SQLite itself says why it cannot.
        return


def create_folder(app_folder: str, url: sa.URL) -> None:
    """Make the instance folder of an app for its owner alone, if there is none and the database is to be in it.

    Flask-SQLAlchemy would make it for everybody.
    """
    file = _file_of(url.database or "") if url.get_backend_name() == "sqlite" else ""
    if file and not os.path.isabs(file):
        os.makedirs(app_folder, 0o700, exist_ok=True)


def _file_of(database: str) -> str:
    """Return the path in the name of a database, which may be a URI; empty for one in memory."""
    if not database.startswith("file:"):
        return "" if database == ":memory:" else database
    parts = urlsplit(database)
    modes = parse_qs(parts.query).get("mode", ["rwc"])
    return unquote(parts.path) if modes == ["rwc"] and parts.path != ":memory:" else ""


def _find(path: str) -> _Inode | None:
    try:
        return _Inode(path)
    except FileNotFoundError:
        return None


def _cannot_open(reason: str) -> sqlite3.OperationalError:
    return sqlite3.OperationalError(f"unable to open database file: {reason}")
