"""A coverage-guided fuzz target over the whole request path: ``make fuzz``.

Needs atheris. Its options are libFuzzer's: ``python -m tests.fuzz.fuzz_request -max_total_time=60``.
"""

from __future__ import annotations

import itertools
import logging
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["flask_grpcweb_scm", "google.protobuf.json_format"]):
    from tests.echo_pb2 import EchoRequest
    from tests.fuzz.target import CONTENT_TYPES, HEADERS, PATHS, TRANSFORMS, FuzzedRequest, check, create_app

LENGTHS = [0, 0, 0, None, None, 1, -1]
VERBS = ["POST"] * 7 + ["PUT"]


def request_of(data: bytes) -> FuzzedRequest:
    """Read a request from bytes: a byte for every choice, headers with their lengths, and the rest is the body."""
    choices = iter(data)

    def choose(count: int) -> int:
        return next(choices, 0) % count

    path, content_type = PATHS[choose(len(PATHS))], CONTENT_TYPES[choose(len(CONTENT_TYPES))]
    length, verb = LENGTHS[choose(len(LENGTHS))], VERBS[choose(len(VERBS))]
    transforms = [list(TRANSFORMS.values())[choose(len(TRANSFORMS))] for _ in range(choose(4))]
    headers = []
    for _ in range(choose(4)):
        name = HEADERS[choose(len(HEADERS))]
        headers.append((name, bytes(itertools.islice(choices, choose(64))).decode("latin-1")))
    body = bytes(choices)
    for transform in transforms:
        body = transform(body)
    return FuzzedRequest(path, content_type, headers, body, verb, length)


def seeds() -> list[bytes]:
    """Good requests of every method, content type and way of writing a body."""
    names = list(TRANSFORMS)
    proto = EchoRequest(text="fail", count=2, data=b"d").SerializeToString()
    bodies = {
        "": [(["frame"], proto), (["gzip", "flagged"], proto), (["zlib", "flagged"], proto)],
        "+json": [(["frame"], b'{"text": "a", "count": 2, "data": "AA=="}')],
    }
    values = {"grpc-timeout": b"5S", "grpc-encoding": b"gzip", "grpc-accept-encoding": b"gzip, deflate"}
    values |= {"accept": b"*/*", "x-data-bin": b"AAE=,AA", "x-text": b"text"}
    found = []
    for path, (kind, content_type) in itertools.product(range(len(PATHS)), enumerate(CONTENT_TYPES)):
        for transforms, body in bodies["+json" if content_type.endswith("json") else ""]:
            wanted = [*transforms, "base64"] if "-text" in content_type else transforms
            for name, value in values.items():
                header = bytes([1, HEADERS.index(name), len(value)]) + value
                found.append(bytes([path, kind, 0, 0, len(wanted), *map(names.index, wanted)]) + header + body)
    return found


def main() -> None:
    logging.disable()
    app = create_app()
    with tempfile.TemporaryDirectory() as folder:
        for number, seed in enumerate(seeds()):
            Path(folder, str(number)).write_bytes(seed)
        atheris.Setup([*sys.argv, folder], lambda data: check(app, request_of(data)))
        atheris.Fuzz()


if __name__ == "__main__":
    main()
