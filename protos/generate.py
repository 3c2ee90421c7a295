"""Generate messages, type stubs and services from every .proto beside this file: ``generate.py OUTPUT_FOLDER``.

Runs in the environment of requirements.txt. The layout below ``protos/`` is the layout of the
output, so ``protos/package/thing.proto`` becomes ``package/thing_pb2.py``, ``package/thing_pb2.pyi``,
``package/thing_rpc.py`` when it has services, ``package/thing.binpb``, a descriptor set with the comments, and a copy
of ``thing.proto`` for the wheel. What ``flask grpc init`` writes is compiled as its users compile it.
"""

import re
import shutil
import sys
import tempfile
from pathlib import Path

import grpc_tools
from grpc_tools import protoc

PROTOS = Path(__file__).resolve().parent
PATHS = [f"--proto_path={PROTOS}", f"--proto_path={Path(grpc_tools.__file__).with_name('_proto')}"]
PROJECT = Path("flask_grpcweb_scm/cli/template/greeter.proto")
# The environment of this script does not have the package.
PLUGIN = f"""#!{sys.executable}
import sys
sys.path.insert(0, {str(PROTOS.parent)!r})
from flask_grpcweb_scm.codegen.protoc import main
main()
"""

# Other packages have these messages too, in files of other names: a pool takes each name once.
DEFAULT_POOL = "_descriptor_pool.Default()"
POOL_OF_ITS_OWN = "_descriptor_pool.DescriptorPool()"
BUILD_IN_DEFAULT_POOL = re.compile(r"_builder\.BuildTopDescriptorsAndMessages\(DESCRIPTOR, .*\n")
BUILD = """from google.protobuf.message_factory import GetMessageClass as _GetMessageClass
_globals.update({name: _GetMessageClass(each) for name, each in DESCRIPTOR.message_types_by_name.items()})
_globals.update({f'_{name.upper()}': each for name, each in DESCRIPTOR.services_by_name.items()})
"""


def generate(output: Path) -> int:
    """Write the generated files below *output*, and return the compiler's exit code."""
    names = sorted(path.relative_to(PROTOS) for path in PROTOS.rglob("*.proto"))
    names.remove(PROJECT)
    with tempfile.TemporaryDirectory() as folder:
        plugin = Path(folder, "protoc-gen-flask-grpc")
        plugin.write_text(PLUGIN)
        plugin.chmod(0o700)
        code = protoc.main(
            [
                "protoc",
                f"--plugin=protoc-gen-mypy={Path(sys.executable).with_name('protoc-gen-mypy')}",
                f"--plugin={plugin}",
                *PATHS,
                f"--python_out={output}",
                f"--mypy_out=quiet:{output}",
                f"--flask-grpc_out={output}",
                *map(str, names),
            ]
        )
    for name in names if code == 0 else ():
        shutil.copyfile(PROTOS / name, output / name)
        descriptors = f"--descriptor_set_out={(output / name).with_suffix('.binpb')}"
        code = code or protoc.main(["protoc", *PATHS, "--include_source_info", descriptors, str(name)])
        if "\npackage grpc." in (PROTOS / name).read_text():
            leave_default_pool(output / name.with_name(f"{name.stem}_pb2.py"))
    return int(code) or generate_project(output / PROJECT.parent)


def generate_project(folder: Path) -> int:
    """Write what protoc makes of the proto that users begin with; its services are for them to name."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(PROTOS / PROJECT, folder / PROJECT.name)
    own = [f"--proto_path={folder}", f"--python_out={folder}", f"--pyi_out={folder}", "--include_source_info"]
    descriptors = f"--descriptor_set_out={folder / PROJECT.with_suffix('.binpb').name}"
    code = protoc.main(["protoc", *own, descriptors, PROJECT.name])
    for name in ("greeter_pb2.py", "greeter_pb2.pyi"):
        (folder / name).replace(folder / f"{name}.tmpl")  # they are not modules of the package
    return int(code)


def leave_default_pool(module: Path) -> None:
    """Have a module keep its messages in a pool of its own."""
    text = module.read_text().replace(DEFAULT_POOL, POOL_OF_ITS_OWN)
    module.write_text(BUILD_IN_DEFAULT_POOL.sub(BUILD, text))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sys.exit(generate(Path(sys.argv[1])))
