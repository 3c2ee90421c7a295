"""The example scripts of the first version's README run against `make run`, but for import path and URL."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import ROOT, START_SECONDS, free_port

pytestmark = pytest.mark.needs("server")

HIGH_LEVEL = """
from sentry_grpc_scm import ScmGrpcClient

# Create client using Sonora transport
client = ScmGrpcClient(
    base_url='http://localhost:8000',
    auth_token='your-auth-token'  # Optional
)

# List repositories
repos = client.list_repositories(
    organization_id=123,
    page_size=10
)
print(f"Found {len(repos)} repositories")

# Create an external issue
issue = client.create_external_issue(
    organization_id=123,
    integration_id=1,
    title="Bug Report",
    description="Issue description"
)
print(f"Created issue: {issue['key']}")
"""

LOW_LEVEL = """
import struct
import requests
import scm_pb2

# Create request
request = scm_pb2.ListRepositoriesRequest(
    organization_id=123,
    page_size=10
)

# Serialize to gRPC-Web format
message_bytes = request.SerializeToString()
grpc_web_payload = struct.pack('!BI', 0, len(message_bytes)) + message_bytes

# Send request
response = requests.post(
    'http://localhost:8000/sentry.integrations.scm.v1.ScmService/ListRepositories',
    data=grpc_web_payload,
    headers={
        'Content-Type': 'application/grpc-web+proto',
        'X-Grpc-Auth-Token': 'your-auth-token'  # Optional authentication
    }
)

# Parse response
if response.headers.get('grpc-status') == '0':
    # Skip framing bytes and parse message
    message_data = response.content[5:]
    result = scm_pb2.ListRepositoriesResponse()
    result.ParseFromString(message_data)
    print(f"Found {len(result.repositories)} repositories")
"""

CHANGES = {
    "from sentry_grpc_scm import": "from flask_grpcweb_scm.client import",
    "import scm_pb2": "from flask_grpcweb_scm.pb import scm_pb2",
}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if Path(sys.prefix) != ROOT / ".venv":
        pytest.skip("make run has an environment of its own, .venv")
    folder = tmp_path_factory.mktemp("make-run")
    port = free_port()
    environ = {**os.environ, "FLASK_SQLALCHEMY_DATABASE_URI": f"sqlite:///{folder}/example.db"}
    # These are for the make that may run the tests.
    for name in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL"):
        environ.pop(name, None)
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            ["make", "run", f"PORT={port}"],
            cwd=ROOT,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            _wait(port, process, folder / "log")
            yield f"http://localhost:{port}"
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(30)


def _wait(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    stop = time.monotonic() + 2 * START_SECONDS
    while True:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5).close()
            return
        except OSError:
            if process.poll() is not None or time.monotonic() > stop:
                raise AssertionError(f"make run does not serve:\n{log.read_text()}") from None
            time.sleep(0.1)


@pytest.mark.parametrize(
    ("script", "output"),
    [(HIGH_LEVEL, "Found 1 repositories\nCreated issue: ISSUE-2\n"), (LOW_LEVEL, "Found 1 repositories\n")],
    ids=["client", "low-level"],
)
def test_the_script_runs(url: str, script: str, output: str) -> None:
    for old, new in {**CHANGES, "http://localhost:8000": url}.items():
        script = script.replace(old, new)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == (output, "")
