"""gunicorn behind nginx on one machine, sized by what the machine has: docs/deployment.md has the rules."""

import os
import signal
from pathlib import Path

# One process for each core: Python runs one thread at a time. Beside PostgreSQL on the same machine, one less.
workers = int(os.environ.get("WEB_CONCURRENCY") or len(os.sched_getaffinity(0)))
# Streams, which hold theirs, and as many again for other calls; at least two more than FLASK_GRPC_MAX_STREAMS_TOTAL.
worker_class = "gthread"
threads = 2 * int(os.environ.get("FLASK_GRPC_MAX_STREAMS_TOTAL", "8"))
# A process whose threads are all busy takes no more: connections wait in the socket for the first that is free, be it
# of a new release.
worker_connections = threads
# systemd gives the socket, and this is not looked at.
bind = os.environ.get("GUNICORN_BIND", "127.0.0.1:8000")
backlog = 2048

# nginx opens a connection for each request: none is kept that a worker closes when a request is on its way.
keepalive = 0
# The time that streams get when a worker stops: TimeoutStopSec of systemd is a little longer.
graceful_timeout = int(os.environ.get("GRACEFUL_SECONDS", "60"))
# Of a process that does nothing any more. Calls have deadlines: FLASK_GRPC_MAX_TIMEOUT.
timeout = 60
# The sign of life of a worker is a file, which a busy disk would delay.
worker_tmp_dir = "/dev/shm"  # noqa: S108  # which is memory
control_socket_disable = True

# Code is loaded by the workers, not before: new ones take a new release into use.
preload_app = False
wsgi_app = "wsgi:app"

READY_FOLDER = os.environ.get("READY_FOLDER")


def on_starting(server):
    """Forget what an earlier gunicorn has left: metrics, and the names of its processes."""
    for folder in filter(None, (os.environ.get("PROMETHEUS_MULTIPROC_DIR"), READY_FOLDER)):
        Path(folder).mkdir(parents=True, exist_ok=True)
        for file in Path(folder).iterdir():
            file.unlink()


def nworkers_changed(server, new_value, old_value):
    """Tell reload-gunicorn how many processes there should be: as configured, and after its signals."""
    if READY_FOLDER:
        Path(READY_FOLDER).parent.mkdir(parents=True, exist_ok=True)
        Path(READY_FOLDER).with_name("workers").write_text(f"{server.cfg.workers} {new_value}\n")


def post_worker_init(worker):
    """Tell reload-gunicorn that this process serves; on SIGTERM, have it say that it is not ready.

    That ends the streams of those who watch its health, too.
    """
    from example_app import grpc

    if READY_FOLDER:
        Path(READY_FOLDER, str(worker.pid)).touch()

    stop = signal.getsignal(signal.SIGTERM)

    def drain(number, frame):
        grpc.drain()
        stop(number, frame)

    signal.signal(signal.SIGTERM, drain)
    signal.siginterrupt(signal.SIGTERM, False)


def child_exit(server, worker):
    """Forget a process that is gone, and its calls in flight."""
    if READY_FOLDER:
        Path(READY_FOLDER, str(worker.pid)).unlink(missing_ok=True)
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    if folder:
        # What mark_process_dead() does; imported here, workers of later releases would have the library of this one.
        for file in Path(folder).glob(f"gauge_live*_{worker.pid}.db"):
            file.unlink(missing_ok=True)
