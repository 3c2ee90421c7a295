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

# Code is loaded by the workers, not before: SIGHUP takes a new release into use.
preload_app = False
wsgi_app = "wsgi:app"


def on_starting(server):
    """Forget the metrics of processes that an earlier gunicorn had."""
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        for file in Path(folder).glob("*.db"):
            file.unlink()


def post_worker_init(worker):
    """On SIGTERM, have the process say that it is not ready, and end the streams of those who watch its health."""
    from example_app import grpc

    stop = signal.getsignal(signal.SIGTERM)

    def drain(number, frame):
        grpc.drain()
        stop(number, frame)

    signal.signal(signal.SIGTERM, drain)
    signal.siginterrupt(signal.SIGTERM, False)


def child_exit(server, worker):
    """Count the calls of a process that is gone as no longer in flight."""
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        from prometheus_client import multiprocess

        multiprocess.mark_process_dead(worker.pid)
