"""The files of deploy/ that nothing here runs: what their own tools, and the files that they name, say of them."""

from __future__ import annotations

import http.server
import os
import re
import shutil
import subprocess
import threading
from pathlib import Path

import pytest
import yaml

from flask_grpcweb_scm.settings import fields_by_key
from tests.deploy.deployment import DEPLOY, PATIENCE, PROGRAMS, environment_file
from tests.documents import PAGES
from tests.servers import ROOT, free_port

pytestmark = pytest.mark.needs("deployment")

UNITS = sorted((DEPLOY / "systemd").iterdir())
MAX_EXPOSURE = "20"
"""Tenths of what systemd-analyze counts; 100 is a service without any hardening."""


def systemd_analyze(*arguments: str) -> str:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed: apt-get install systemd")
    done = subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stderr


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """The units, with programs and users that are on this machine."""
    for unit in UNITS:
        text = unit.read_text().replace("/opt/scm/current/.venv/bin", str(PROGRAMS))
        (tmp_path / unit.name).write_text(text.replace("=scm\n", "=root\n"))
    return tmp_path


@pytest.mark.parametrize("name", [unit.name for unit in UNITS])
def test_systemd_finds_no_fault_in_a_unit(name: str, units: Path) -> None:
    ours = [line for line in systemd_analyze("verify", str(units / name)).splitlines() if "scm-" in line]
    assert ours == []


@pytest.mark.parametrize("name", [unit.name for unit in UNITS if unit.suffix == ".service"])
def test_a_service_is_hardened(name: str, units: Path) -> None:
    systemd_analyze("security", "--offline=true", f"--threshold={MAX_EXPOSURE}", "--no-pager", str(units / name))


def test_the_keys_of_the_environment_are_those_of_the_app() -> None:
    keys = {name.removeprefix("FLASK_") for name in environment_file(DEPLOY / "scm.env") if "GRPC_" in name}
    assert keys <= {*fields_by_key()}


def test_the_services_of_compose() -> None:
    composed = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    services = composed["services"]
    for name, service in services.items():
        # Each has a sign of life: its own, that of its image, or of the Dockerfile.
        assert (
            "healthcheck" in service
            or "build" in service
            or service["image"] in {"scm", "docker.io/library/nginx:1.26"}
        )
        assert set(service.get("depends_on", {})) <= services.keys(), name
        for volume in service.get("volumes", []):
            source = volume.partition(":")[0]
            assert source in composed["volumes"] or source == "./tls" or (DEPLOY / source).exists(), volume
        if service["image"] == "scm":
            assert service["read_only"]
            assert service["cap_drop"] == ["ALL"]
    units = {unit.name: unit.read_text() for unit in UNITS}
    # The same commands as of the units.
    assert " ".join(services["worker"]["command"]) in units["scm-worker.service"]
    assert "pyvoy wsgi:app --interface wsgi" in " ".join(services["grpc"]["command"])


def test_the_dockerfile_copies_what_there_is() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    assert text.count("\nFROM ") == 2
    assert "\nUSER 10001:10001\n" in text
    for sources in re.findall(r"^COPY (?!--from)(.*) \S+$", text, re.MULTILINE):
        for source in sources.split():
            assert (ROOT / source).exists(), source
    configuration = (ROOT / "setup.cfg").read_text()
    (extras,) = re.findall(r"'\.\[([\w,-]+)\]'", text)
    assert all(f"\n{extra} =\n" in configuration for extra in extras.split(","))


def test_the_page_names_every_file() -> None:
    (table,) = re.findall(r"^\| file \| for \|\n(.*?)\n\n", PAGES["deployment"].read_text(), re.MULTILINE | re.DOTALL)
    named = {name.rstrip("/") for name in re.findall(r"`([\w./-]+)`", re.sub(r"\|[^|\n]*\|$", "", table, flags=re.M))}
    assert named == {file.name for file in DEPLOY.iterdir() if not file.name.startswith("_")}


def test_scripts_may_be_run() -> None:
    assert sorted(file.name for file in DEPLOY.iterdir() if os.access(file, os.X_OK) and file.is_file()) == (
        ["reload-gunicorn", "restart-pyvoy", "scm-flask"]
    )


class _Ready(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        """Print nothing."""


@pytest.mark.parametrize(
    ("seconds", "servers"),
    [
        *((seconds, "server 127.0.0.1:8101 max_fails=0;\n") for seconds in ("0", "abc", "1.5", "-1")),
        ("1", "server 10.0.0.1:8101;\n"),
        ("1", None),
    ],
)
def test_restart_pyvoy_begins_nothing_that_it_cannot_do(seconds: str, servers: str | None, tmp_path: Path) -> None:
    for name in ("nginx", "systemctl", "curl"):
        (tmp_path / name).write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
        (tmp_path / name).chmod(0o755)
    if servers is not None:
        (tmp_path / "servers.conf").write_text(servers)
    environ = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SERVERS": str(tmp_path / "servers.conf")}
    done = subprocess.run(
        [DEPLOY / "restart-pyvoy", seconds], env=environ, capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == 2
    assert "servers.conf" in done.stderr
    assert not (tmp_path / "ran").exists()


def test_a_release_of_pyvoy_that_does_not_start_is_left_out_until_it_does(tmp_path: Path) -> None:
    for name in ("nginx", "systemctl"):
        (tmp_path / name).write_text(f'#!/bin/sh\necho {name} "$@" >> {tmp_path}/ran\n')
        (tmp_path / name).chmod(0o755)
    starting, serving = free_port(), http.server.HTTPServer(("127.0.0.1", 0), _Ready)
    before = f"server 127.0.0.1:{starting} max_fails=0;\nserver 127.0.0.1:{serving.server_port};\n"
    servers = tmp_path / "servers.conf"
    servers.write_text(before)
    environ = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "SERVERS": str(servers)}

    def restart(seconds: str = "1") -> subprocess.CompletedProcess[str]:
        (tmp_path / "ran").unlink(missing_ok=True)
        command = [DEPLOY / "restart-pyvoy", seconds]
        return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=PATIENCE)

    thread = threading.Thread(target=serving.serve_forever)
    thread.start()
    try:
        done = restart()
        assert (done.returncode, f"scm-pyvoy@{starting} is not ready after 1 s" in done.stderr) == (1, True)
        assert servers.read_text() == before.replace("=0;", "=0 down;", 1)
        # With the other one in the first place: it serves, and is left alone until the first is back.
        servers.write_text("".join(reversed(servers.read_text().splitlines(keepends=True))))
        assert restart().returncode == 1
        assert str(serving.server_port) not in (tmp_path / "ran").read_text()
        with http.server.HTTPServer(("127.0.0.1", starting), _Ready) as started:
            other = threading.Thread(target=started.serve_forever)
            other.start()
            assert restart("60").returncode == 0
            started.shutdown()
            other.join()
        assert sorted(servers.read_text().splitlines()) == sorted(before.splitlines())
        assert (tmp_path / "ran").read_text().count("systemctl restart") == 2
    finally:
        serving.shutdown()
        serving.server_close()
        thread.join()
