"""The files of deploy/ at work: what systemd does with its units, this does in folders and at ports of a test's own."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shlex
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from tests.faults.postgresql import PostgresqlServer
from tests.faults.redis_server import RedisServer
from tests.nginx.conftest import NGINX
from tests.servers import ROOT, check_need, free_port

logger = logging.getLogger(__name__)

DEPLOY = ROOT / "deploy"
PROGRAMS = Path(sys.executable).parent
TOKEN = "token-of-the-tests-of-the-deployment"
DICE_PAUSE = "0.05"
PATIENCE = 90.0
MAIN = """
user {user};
worker_processes 2;
pid {folder}/nginx.pid;
error_log {folder}/nginx-error.log info;
events {{ worker_connections 1024; }}
http {{
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/nginx/scm.conf;
}}
"""
_LAUNCH = """
import os, sys
for number, given in enumerate(map(int, sys.argv[1].split(",")), 3):
    os.dup2(given, number)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(sys.argv[1].count(",") + 1))
os.execvp(sys.argv[2], sys.argv[2:])
"""


class Unit:
    """A service, as systemd runs it.

    :param replaced: names of files and ports in the unit, and those of the test in their place.
    :param sockets: that it gets.
    :param inside: the beginning of its command, which has it run on another host.
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        environ: Mapping[str, str],
        replaced: Mapping[str, str],
        *,
        instance: str = "",
        sockets: list[socket.socket] | None = None,
        inside: Sequence[str] = (),
    ) -> None:
        text = (DEPLOY / "systemd" / name).read_text().replace("%i", instance)
        for before, after in replaced.items():
            text = text.replace(before, after)
        self._keys: dict[str, list[str]] = {}
        for key, value in re.findall(r"^(\w+)=(.*)$", text, re.MULTILINE):
            self._keys.setdefault(key, []).append(value)
        self.log = folder / f"{name}{instance}.log"
        # What is in the EnvironmentFile= counts more.
        self._environ = {**dict(each.split("=", 1) for each in self._keys.get("Environment", [])), **environ}
        self._sockets, self._inside = sockets or [], inside
        self._folders = [folder / "run" / each for each in self._keys.get("RuntimeDirectory", [])]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        for made in self._folders:
            made.mkdir(parents=True)
        command = [*self._inside, *shlex.split(self._keys["ExecStart"][0])]
        if self._sockets:
            given = ",".join(str(each.fileno()) for each in self._sockets)
            command = [sys.executable, "-c", _LAUNCH, given, *command]
        with self.log.open("a") as output:
            self._process = subprocess.Popen(
                command,
                cwd=self._keys["WorkingDirectory"][0],
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                # High enough that none of 3, 4, … is given twice.
                pass_fds=[each.fileno() for each in self._sockets],
            )

    def start_if_ended(self) -> None:
        """What ``Restart=always`` does."""
        if self._process is not None and self._process.poll() is not None:
            self.clear()
            self.start()

    def reload(self) -> None:
        self._run("ExecReload")

    def stop(self) -> None:
        process = self._process
        if process is None:
            return
        if process.poll() is None and "ExecStop" in self._keys:
            self._run("ExecStop")
        process.send_signal(getattr(signal, self._keys.get("KillSignal", ["SIGTERM"])[0]))
        try:
            process.wait(float(self._keys["TimeoutStopSec"][0]))
        finally:
            process.kill()
            self.clear()

    def clear(self) -> None:
        """Wait for the end of the process, whoever has killed it, and leave nothing of it for the next one."""
        if self._process is None:
            return
        self._process.wait()
        self._process = None
        for made in self._folders:
            shutil.rmtree(made)

    def restart(self) -> None:
        self.stop()
        self.start()

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def _run(self, key: str) -> None:
        for line in self._keys[key]:
            command = [word.replace("$MAINPID", str(self.pid)) for word in shlex.split(line)]
            folder = self._keys["WorkingDirectory"][0]
            subprocess.run(command, check=True, cwd=folder, env=self._environ, timeout=PATIENCE, capture_output=True)


class Nginx:
    """nginx with the configuration of deploy/nginx.

    :param replaced: as of :class:`Unit`.
    :param address: of its certificate.
    :param inside: as of :class:`Unit`.
    """

    def __init__(
        self,
        folder: Path,
        replaced: Mapping[str, str],
        address: str = "127.0.0.1",
        inside: Sequence[str] = (),
    ) -> None:
        self._folder, self._inside = folder, inside
        self.log = folder / "nginx-error.log"
        self.access_log = folder / "log/scm.log"
        self.access_log.parent.mkdir()
        (folder / "nginx/tls").mkdir(parents=True)
        for file in (DEPLOY / "nginx").glob("*.conf"):
            text = file.read_text()
            for before, after in replaced.items():
                text = text.replace(before, after)
            (folder / "nginx" / file.name).write_text(text)
        user = "root" if os.geteuid() == 0 else "nobody"
        (folder / "nginx.conf").write_text(MAIN.format(folder=folder, user=user))
        self.certificate = folder / "nginx/tls/tls.crt"
        subprocess.run(
            [
                *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
                *("-subj", f"/CN={address}", "-addext", f"subjectAltName=IP:{address}", "-days", "2"),
                *("-keyout", folder / "nginx/tls/tls.key", "-out", self.certificate),
            ],
            check=True,
            capture_output=True,
        )

    @property
    def command(self) -> list[str]:
        if NGINX is None:
            pytest.fail("nginx is not installed") if "CI" in os.environ else pytest.skip("nginx is not installed")
        return [*self._inside, str(NGINX), "-p", str(self._folder), "-c", str(self._folder / "nginx.conf")]

    def start(self) -> None:
        subprocess.run(self.command, check=True, timeout=PATIENCE)

    def reload(self) -> None:
        subprocess.run([*self.command, "-s", "reload"], check=True, timeout=PATIENCE)

    def stop(self) -> None:
        pid = self._folder / "nginx.pid"
        if pid.exists():
            subprocess.run([*self.command, "-s", "stop"], check=True, timeout=PATIENCE)
            eventually(lambda: not pid.exists())


class Deployment:
    """Everything that deploy/ has, but for the database and Redis, which come from outside.

    :param web: what nginx has before it: gunicorn or pyvoy.
    :param code: the folder of the code and of its environment; None: this checkout, and that of the tests.
    """

    def __init__(
        self,
        folder: Path,
        database: str,
        redis: str,
        web: str = "gunicorn",
        code: Path | None = None,
        **environ: str,
    ) -> None:
        check_need("deployment")
        self.folder, self.port, self._web = folder, free_port(), web
        self.direct, self._instances = free_port(), [free_port(), free_port()]
        self.socket_path = folder / "web.sock"
        self.environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith("FLASK_")},
            **environment_file(DEPLOY / "scm.env"),
            "FLASK_SECRET_KEY": "the key of the tests of the deployment",
            "FLASK_GRPC_AUTH_TOKENS": TOKEN,
            "FLASK_SQLALCHEMY_DATABASE_URI": database,
            "FLASK_GRPC_RATE_LIMIT_STORAGE": redis,
            "FLASK_GRPC_RATE_LIMITS": "1000/second",
            "FLASK_GRPC_SCM_MIRRORS": str(folder / "mirrors"),
            "FLASK_DICE_PAUSE": DICE_PAUSE,
            "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
            **environ,
        }
        replaced = {
            "/opt/scm/current/.venv/bin": str(code / ".venv/bin" if code else PROGRAMS),
            "/opt/scm/current": str(code or ROOT),
            "/run/scm-web.sock": str(self.socket_path),
            "/run/scm-": f"{folder}/run/scm-",
            "/etc/nginx/scm/": f"{folder}/nginx/",
            "/var/log/nginx/": f"{folder}/log/",
            "listen 443": f"listen 127.0.0.1:{self.port}",
            "listen 80;": f"listen 127.0.0.1:{free_port()};",
            **{f":{given}": f":{port}" for given, port in zip((8101, 8102), self._instances, strict=True)},
        }
        if web == "pyvoy":
            replaced |= {"http-servers.conf": "grpc-servers.conf"}
        # As the socket unit has them.
        self._sockets = [socket.socket(socket.AF_UNIX), socket.create_server(("127.0.0.1", self.direct), backlog=2048)]
        self._sockets[0].bind(str(self.socket_path))
        self._sockets[0].listen(2048)
        self.nginx = Nginx(folder, replaced)
        self.gunicorn = Unit("scm-web.service", folder, self.environ, replaced, sockets=self._sockets)
        self.worker = Unit("scm-worker.service", folder, self.environ, replaced)
        self.pyvoy = {
            port: Unit("scm-pyvoy@.service", folder, self.environ, replaced, instance=str(port))
            for port in self._instances
        }
        self._over = threading.Event()

    @property
    def url(self) -> str:
        """Of nginx."""
        return f"https://127.0.0.1:{self.port}"

    @property
    def units(self) -> list[Unit]:
        return [*(self.pyvoy.values() if self._web == "pyvoy" else [self.gunicorn]), self.worker]

    def flask(self, *arguments: str, exit_codes: Collection[int] = (0,)) -> str:
        """Run a command of the app as an operator does; returns what it prints."""
        command = [str(PROGRAMS / "flask"), "--app", "wsgi", *arguments]
        done = subprocess.run(command, cwd=DEPLOY, env=self.environ, capture_output=True, text=True, timeout=60)
        assert done.returncode in exit_codes, done.stderr
        return done.stdout

    def start(self) -> None:
        """Start everything, in the order of the page."""
        self.flask("db", "upgrade")
        for unit in self.units:
            unit.start()
        self.nginx.start()
        direct = self._instances if self._web == "pyvoy" else [self.direct]
        for port in direct:
            eventually(lambda port=port: page(f"http://127.0.0.1:{port}/healthz/ready")[0] == 200)

    def stop(self) -> None:
        self._over.set()
        self.nginx.stop()
        for unit in self.units:
            unit.stop()
        for each in self._sockets:
            each.close()

    def restart_pyvoy(self) -> None:
        """Run the script; ``systemctl`` and ``nginx`` are those of the test."""
        programs, orders = self.folder / "bin", self.folder / "orders"
        programs.mkdir(exist_ok=True)
        orders.mkdir(exist_ok=True)
        nginx = shlex.join(self.nginx.command)
        scripts = {
            "nginx": f'#!/bin/sh\nexec {nginx} "$@"\n',
            # Its parent restarts the unit.
            "systemctl": f'#!/bin/sh\ntouch "{orders}/$2"\nwhile [ -e "{orders}/$2" ]; do sleep 0.05; done\n',
        }
        for name, text in scripts.items():
            (programs / name).write_text(text)
            (programs / name).chmod(0o755)
        environ = {**self.environ, "SERVERS": str(self.folder / "nginx/grpc-servers.conf")}
        script = subprocess.Popen([DEPLOY / "restart-pyvoy", "30"], env=environ)
        while script.poll() is None:
            for order in orders.iterdir():
                self.pyvoy[int(re.findall(r"@(\d+)\.", order.name)[0])].restart()
                order.unlink()
            time.sleep(0.05)
        assert script.returncode == 0

    def logs(self) -> str:
        return "".join(
            unit.log.read_text() for unit in [self.gunicorn, self.worker, *self.pyvoy.values()] if unit.log.exists()
        )


def environment_file(path: Path) -> dict[str, str]:
    """What systemd reads from an ``EnvironmentFile=``."""
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    return dict("".join(shlex.split(line)).split("=", 1) for line in lines)


def eventually(check: Callable[[], bool], seconds: float = PATIENCE) -> None:
    stop = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < stop
        time.sleep(0.05)


def page(url: str, certificate: Path | None = None) -> tuple[int, str]:
    """The status and the body of a page; 0 when nothing responds."""
    context = ssl.create_default_context(cafile=str(certificate)) if certificate else None
    try:
        with urllib.request.urlopen(url, timeout=5, context=context) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError:
        return 0, ""


@contextlib.contextmanager
def deployed(
    folder: Path,
    postgresql: PostgresqlServer,
    redis: RedisServer,
    web: str = "gunicorn",
    *,
    may_crash: bool = False,
    code: Path | None = None,
    **environ: str,
) -> Iterator[Deployment]:
    """Run the deployment while the block runs, on an empty database.

    :param may_crash: tracebacks in the logs are none of the test's failures.
    :param code: as of :class:`Deployment`.
    """
    postgresql.reset()
    deployment = Deployment(folder, postgresql.uri, redis.uri, web, code, **environ)
    try:
        deployment.start()
        yield deployment
    except BaseException:
        logger.error("%s", deployment.logs()[-5000:])
        raise
    finally:
        deployment.stop()
    assert may_crash or "Traceback" not in deployment.logs()
