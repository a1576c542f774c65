"""What an installation takes, alone and with each extra, and whether each extra alone is enough.

    python -m tests.bench.install_size [EXTRA ...] [--work DIR]

Builds the wheel and installs it into fresh virtual environments with the versions of constraints.txt: one with nothing
else, and one for each extra, which finds in the first what all need. With the extra the command that it exists for must
work; without, the error must name it. Sizes are of installed files, compiled modules included. PyPI's torch for Linux
brings several GB of CUDA; where pip is told of a CPU build (PIP_FIND_LINKS or PIP_INDEX_URL), that is taken.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from importlib.metadata import distributions
from pathlib import Path

from tests.helpers.extras import COMMANDS, ROOT
from tests.helpers.served import served

ENVIRONMENT = {**os.environ, "PYTHONPATH": "", "HF_HUB_OFFLINE": "1"}


def build_wheel(work: Path) -> Path:
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(work), str(ROOT)]
    subprocess.run(command, check=True)
    return next(work.glob("clipcli-*.whl"))


def install(folder: Path, what: str, beneath: Path | None = None) -> Path:
    """A virtual environment with a package and what it needs, on top of those of another environment."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    if beneath is not None:
        (site_packages(folder) / "beneath.pth").write_text(str(site_packages(beneath)))
    command = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"), "install", "-q"]
    subprocess.run([*command, "-c", str(ROOT / "constraints.txt"), what], check=True, env=ENVIRONMENT)
    return folder


def site_packages(environment: Path) -> Path:
    return next(environment.glob("lib/python*/site-packages"))


def megabytes(environment: Path) -> dict[str, float]:
    """By package."""
    found = {}
    for package in distributions(path=[str(site_packages(environment))]):
        files = [Path(str(file.locate())) for file in package.files or ()]
        found[package.name] = sum(path.stat().st_size for path in files if path.exists()) / 1e6
    return found


def report(what: str, sizes: dict[str, float]) -> None:
    largest = sorted(sizes, key=lambda name: -sizes[name])[:5]
    print(
        f"{what:14} {sum(sizes.values()):7.1f} MB  " + ", ".join(f"{name} {sizes[name]:.1f}" for name in largest),
        flush=True,
    )


def run(environment: Path, extra: str, work: Path) -> str:
    """What becomes of the command that an extra exists for; a server is asked whether it is well."""
    scratch = Path(tempfile.mkdtemp(dir=work))
    arguments = COMMANDS[extra](scratch)
    program = (str(environment / "bin" / "python"), "-P", "-m", "clipcli")  # -P: not the one of this folder
    variables = {**ENVIRONMENT, "CLIPCLI_CACHE_DIR": str(scratch / "cache")}
    if extra == "serve" and environment.name == extra:
        with served(*arguments[3:], program=program, environment=variables) as server:
            assert server.ask("/health").status == 200
            return "works"
    done = subprocess.run([*program, *arguments], env=variables, cwd=work, capture_output=True, text=True, check=False)
    return " ".join((done.stderr + done.stdout).split()) if done.returncode else "works"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("extras", nargs="*", metavar="EXTRA", help=", ".join(COMMANDS))
    parser.add_argument("--work", type=Path, default=None, help="keep the environments in this folder")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(args.work or scratch).resolve()
        wheel = build_wheel(work)
        print(f"{wheel.name}: {wheel.stat().st_size / 1e6:.1f} MB")
        base = install(work / "base", str(wheel))
        report("clipcli", megabytes(base))
        for extra in args.extras or COMMANDS:
            environment = install(work / extra, f"clipcli[{extra}] @ {wheel.as_uri()}", beneath=base)
            report(f"+ {extra}", {name: size for name, size in megabytes(environment).items() if name != "clipcli"})
            print(f"    with it: {run(environment, extra, work)}\n    without: {run(base, extra, work)}", flush=True)


if __name__ == "__main__":
    main()
