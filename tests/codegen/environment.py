"""The environment with protoc that ``flask grpc generate`` makes, without a download: it is .venv-protos."""

from __future__ import annotations

import sys
from pathlib import Path

from google import protobuf

from tests.test_proto import GENERATOR, require_generator

__all__ = ["ENVIRONMENT", "cache_with_protoc"]

ENVIRONMENT = f"grpcio-tools-{sys.implementation.cache_tag}-protobuf-{protobuf.__version__}"


def cache_with_protoc(folder: Path) -> Path:
    """Make the folder for caches, to be named by ``XDG_CACHE_HOME``, below `folder`."""
    require_generator()
    environments = folder / "cache/flask_grpcweb_scm"
    environments.mkdir(parents=True)
    (environments / ENVIRONMENT).symlink_to(GENERATOR.parent.parent)
    return environments.parent
