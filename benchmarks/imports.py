"""Duration of imports, in a fresh process."""

from __future__ import annotations

import functools
import subprocess
import sys
from contextlib import ExitStack

from benchmarks.harness import Goal, Variants, observation

DEPENDENCIES = "import flask, flask_sqlalchemy, google.protobuf.message, google.protobuf.descriptor_pb2"


def _milliseconds(statement: str) -> float:
    code = f"import time; started = time.process_time(); {statement}; print((time.process_time() - started) * 1000)"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    return float(output)


@observation(
    "import",
    unit="ms",
    reference="dependencies",
    goals=[Goal("package", "dependencies", at_most=1.3)],
    quick=True,
)
def imports(stack: ExitStack) -> Variants:
    """This package beside Flask, Flask-SQLAlchemy and protobuf."""
    statements = {
        "dependencies": DEPENDENCIES,
        "package": "from flask_grpcweb_scm import GrpcWebScm",
        "package and models": "from flask_grpcweb_scm import GrpcWebScm; import flask_grpcweb_scm.scm",
    }
    return {name: functools.partial(_milliseconds, statement) for name, statement in statements.items()}
