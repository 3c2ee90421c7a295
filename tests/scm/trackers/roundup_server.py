"""A Roundup tracker of the classic template, in this process, on loopback.

python -m tests.scm.trackers.roundup_server PORT
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from werkzeug.serving import make_server

TEMPLATE = Path(sys.prefix) / "share/roundup/templates/classic"
PASSWORD = "roundup-sekrit"


@dataclass(frozen=True)
class RoundupServer:
    home: Path
    url: str

    def rows(self, kind: str) -> list[dict[str, Any]]:
        """Every item of a class, as the tracker itself has it."""
        import roundup.instance

        tracker = roundup.instance.open(str(self.home))
        db = tracker.open("admin")
        try:
            items = db.getclass(kind)
            return [{name: items.get(row, name) for name in items.getprops()} for row in items.list()]
        finally:
            db.close()


@contextlib.contextmanager
def serve_roundup(folder: Path, port: int = 0) -> Iterator[RoundupServer]:
    # They take half a second, which the processes that run other tests need not.
    import roundup.init
    import roundup.instance
    from roundup.cgi.wsgi_handler import RequestDispatcher
    from roundup.configuration import CoreConfig
    from roundup.password import Password

    home = folder / "tracker"
    roundup.init.install(str(home), str(TEMPLATE))
    (home / "db").mkdir(exist_ok=True)
    config = CoreConfig(str(home))
    app = None

    def dispatch(environ: Any, start_response: Any) -> Any:
        assert app is not None
        return app(environ, start_response)

    server = make_server("127.0.0.1", port, dispatch, threaded=True)
    url = f"http://127.0.0.1:{server.server_port}/"
    config["RDBMS_BACKEND"] = "sqlite"
    config["TRACKER_WEB"] = url
    config["PASSWORD_PBKDF2_DEFAULT_ROUNDS"] = "1000"  # the default takes 0.2 s a request
    config["MAIL_DOMAIN"] = "example.com"
    config["MAIL_HOST"] = "localhost"
    config["MAIL_DEBUG"] = str(folder / "mails")
    config.save(str(home / "config.ini"))
    tracker = roundup.instance.open(str(home))
    tracker.init(Password(PASSWORD, config=tracker.config))
    app = RequestDispatcher(str(home))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield RoundupServer(home, url)
    finally:
        server.shutdown()
        thread.join(10)
        server.server_close()
        shutil.rmtree(home)


def main(port: str) -> None:
    with tempfile.TemporaryDirectory() as folder, serve_roundup(Path(folder), int(port)):
        signal.sigwait([signal.SIGINT, signal.SIGTERM])


if __name__ == "__main__":
    # In every thread, so that the signal is left for who waits for it.
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT, signal.SIGTERM])
    main(*sys.argv[1:])
