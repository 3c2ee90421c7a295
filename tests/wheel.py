"""The wheel of this checkout, and environments that have it in place of the checkout."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

__all__ = ["build_wheel", "make_environment"]

ROOT = Path(__file__).parent.parent
SOURCES = ("LICENSE", "README.md", "flask_grpcweb_scm", "pyproject.toml", "setup.cfg", "setup.py")
SITE_PACKAGES = "import sysconfig; print(sysconfig.get_path('purelib'))"
FLASK = "import sys\nfrom flask.cli import main\nsys.exit(main())\n"
SECONDS = 300


def build_wheel(folder: Path) -> Path:
    """Pack the wheel, as ``python -m build`` does, in a copy of its sources, and return its path."""
    sources = folder / "sources"
    sources.mkdir()
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, sources / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(ROOT / name, sources / name)
    _pip(Path(sys.executable), "wheel", "--no-build-isolation", "--wheel-dir", str(folder), str(sources))
    (wheel,) = folder.glob("*.whl")
    return wheel


def make_environment(environment: Path, wheel: Path, borrowed: Sequence[Path] = ()) -> None:
    """Install a wheel, and the command ``flask``, into an environment that ``python -m venv`` has made.

    Nothing is downloaded: what the wheel depends on is borrowed from the environment of the tests.

    :param borrowed: the Pythons of further environments whose packages it has.
    """
    python = environment / "bin" / "python"
    _pip(python, "install", str(wheel))
    paths = [sysconfig.get_path("purelib"), *(_output(each, SITE_PACKAGES) for each in borrowed)]
    # A path in a .pth file is searched last, and its own .pth files, such as that of the checkout, are not read.
    Path(_output(python, SITE_PACKAGES), "borrowed.pth").write_text("".join(f"{path}\n" for path in paths))
    command = environment / "bin" / "flask"
    command.write_text(f"#!{python}\n{FLASK}")
    command.chmod(0o755)


def _pip(python: Path, *arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--python", str(python), *arguments]
    _run([*command, "--quiet", "--no-deps", "--no-index", "--disable-pip-version-check"])


def _output(python: Path, code: str) -> str:
    return _run([str(python), "-c", code]).strip()


def _run(command: Sequence[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"
    return done.stdout
