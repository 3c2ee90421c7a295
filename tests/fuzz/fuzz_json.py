"""A coverage-guided fuzz target: what the JSON codec says to any payload, beside json_format.

Run as :mod:`tests.fuzz.fuzz_request` is: ``make fuzz TARGET=json``.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["flask_grpcweb_scm.rpc.json_codec", "google.protobuf.json_format"]):
    from tests.rpc.test_json_codec import MESSAGE_CLASSES, USUAL, check, outcome, parse, print_
    from tests.rpc.test_json_columns import check_page

# Deeper ones end where Python's stack does, which is not exactly the same for both.
LONGEST = 800


def check_bytes(data: bytes) -> None:
    """Check a message of the class that the first byte says, with the other bytes as payload; and many of it."""
    if 0 < len(data) <= LONGEST:
        message_class, payload = MESSAGE_CLASSES[data[0] % len(MESSAGE_CLASSES)], data[1:]
        check(message_class, payload)
        if isinstance(serialized := outcome(parse, message_class, payload), bytes):
            check_page([message_class.FromString(serialized), message_class()])


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        for number, message in enumerate(USUAL):
            seed = bytes([MESSAGE_CLASSES.index(type(message))]) + print_(message)
            Path(folder, str(number)).write_bytes(seed)
        atheris.Setup([*sys.argv, folder], check_bytes)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
