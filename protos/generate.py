"""Generate messages, type stubs and services from every .proto beside this file: ``generate.py OUTPUT_FOLDER``.

Runs in the environment of requirements.txt. The layout below ``protos/`` is the layout of the
output, so ``protos/package/thing.proto`` becomes ``package/thing_pb2.py``, ``package/thing_pb2.pyi``,
``package/thing_rpc.py`` when it has services, and a copy of ``thing.proto`` for the wheel.
"""

import shutil
import sys
import tempfile
from pathlib import Path

import grpc_tools
from grpc_tools import protoc

PROTOS = Path(__file__).resolve().parent
# The environment of this script does not have the package.
PLUGIN = f"""#!{sys.executable}
import sys
sys.path.insert(0, {str(PROTOS.parent)!r})
from flask_grpcweb_scm.codegen.protoc import main
main()
"""


def generate(output: Path) -> int:
    """Write the generated files below *output*, and return the compiler's exit code."""
    names = sorted(path.relative_to(PROTOS) for path in PROTOS.rglob("*.proto"))
    with tempfile.TemporaryDirectory() as folder:
        plugin = Path(folder, "protoc-gen-flask-grpc")
        plugin.write_text(PLUGIN)
        plugin.chmod(0o700)
        code = protoc.main(
            [
                "protoc",
                f"--plugin=protoc-gen-mypy={Path(sys.executable).with_name('protoc-gen-mypy')}",
                f"--plugin={plugin}",
                f"--proto_path={PROTOS}",
                f"--proto_path={Path(grpc_tools.__file__).with_name('_proto')}",
                f"--python_out={output}",
                f"--mypy_out=quiet:{output}",
                f"--flask-grpc_out={output}",
                *map(str, names),
            ]
        )
    for name in names if code == 0 else ():
        shutil.copyfile(PROTOS / name, output / name)
    return int(code)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sys.exit(generate(Path(sys.argv[1])))
