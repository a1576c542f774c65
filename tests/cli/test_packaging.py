"""What users install: sdist and wheel, built as anyone builds them, and the wheel at work away from the checkout."""

import json
import os
import pty
import select
import shutil
import site
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
SHELLS = [name for name in ("bash", "zsh", "fish") if shutil.which(name)]
READERS = [name for name in ("man", "mman") if shutil.which(name)]  # man-db's or the system's own, and mandoc's

PROMPT = "ready> "
HANGS_AFTER_S = 120

Done = "subprocess.CompletedProcess[str]"


def build(source: Path, folder: Path, **options: Any) -> tuple[Path, Path]:
    """Return the sdist and the wheel of a checkout."""
    command = [sys.executable, "-m", "build", "--no-isolation", "--sdist", "--wheel", "--outdir", folder, source]
    subprocess.run(list(map(str, command)), check=True, capture_output=True, **options)
    return next(folder.glob("*.tar.gz")), next(folder.glob("*.whl"))


def install(wheel: Path, folder: Path, dependencies: Path) -> Path:
    """Make an environment with the wheel in it, and look for what it depends on in a folder of packages.

    A folder that is named in a .pth file has no .pth files of its own, so the editable checkout stays out.
    """
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    pip = [sys.executable, "-m", "pip", "--python", folder / "bin" / "python", "install", "--quiet"]
    subprocess.run([*pip, "--no-deps", "--no-index", wheel], check=True)
    (site_packages(folder) / "dependencies.pth").write_text(f"{dependencies}\n")
    return folder


def site_packages(environment: Path) -> Path:
    return next((environment / "lib").glob("python3.*")) / "site-packages"


def active(environment: Path, **variables: str) -> dict[str, str]:
    """What `source bin/activate` makes of the variables of a user who has set nothing else."""
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "MANPATH")}
    path = f"{environment / 'bin'}{os.pathsep}{kept['PATH']}"
    return {**kept, "VIRTUAL_ENV": str(environment), "PATH": path, "OMP_NUM_THREADS": "1", **variables}


def run(environment: Path, *command: object, **variables: str) -> Done:
    """Run a command of the active environment, in a folder that is no checkout."""
    return subprocess.run(
        [str(word) for word in command],
        cwd=environment.parent,
        env=active(environment, **variables),
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return build(ROOT, tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def wheel(built: tuple[Path, Path]) -> Path:
    return built[1]


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment of its own; the packages that the wheel needs are those of the tests."""
    return install(wheel, tmp_path_factory.mktemp("installed") / "venv", Path(site.getsitepackages()[0]))


def test_builds_are_the_same_byte_for_byte(built: tuple[Path, Path], tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere" / "checkout"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".git", ".venv"), copy_function=shutil.copyfile)
    for path in copy.rglob("*"):
        os.utime(path, (1_000_000_000, 1_000_000_000))
        path.chmod(0o700 if path.is_dir() else 0o600)
    again = build(copy, tmp_path / "again", umask=0o077)
    with tarfile.open(built[0]) as archive:
        archive.extractall(tmp_path / "sdist", filter="data")
    (unpacked,) = (tmp_path / "sdist").iterdir()
    for files in (again, build(unpacked, tmp_path / "from-sdist")):
        assert [path.name for path in files] == [path.name for path in built]
        assert [path.read_bytes() for path in files] == [path.read_bytes() for path in built]


def test_the_sdist_has_all_that_make_test_needs(built: tuple[Path, Path]) -> None:
    with tarfile.open(built[0]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    needed = {"Makefile", "LICENSE", "constraints.txt", "pyproject.toml", *(path.name for path in ROOT.glob("*.md"))}
    for folder in ("clipcli", "man", "prompts", "tests"):
        files = (path for path in (ROOT / folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts)
        needed |= {str(path.relative_to(ROOT)) for path in files}
    assert needed <= names


def test_man_pages_schemas_and_types_are_in_it(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert "clipcli/py.typed" in names
    for folder, pattern in (("schemas", "*.json"), ("prompts", "**/*.yaml")):
        source = ROOT / folder if folder == "prompts" else ROOT / "clipcli" / folder
        files = {f"clipcli/{folder}/{path.relative_to(source)}" for path in source.glob(pattern)}
        assert files
        assert files <= set(names)
    for page in (ROOT / "man").glob("*.[157]"):
        section = page.suffix[1:]
        assert any(name.endswith(f"/data/share/man/man{section}/{page.name}") for name in names), page.name


def test_what_is_not_for_users_is_not_in_it(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert not [name for name in names if "training" in name or name.startswith("tests")]


def test_the_wheel_is_what_runs(installed: Path) -> None:
    found = run(installed, "python", "-c", "import clipcli; print(clipcli.__file__)")
    assert Path(found.stdout.strip()).is_relative_to(site_packages(installed))


@pytest.mark.parametrize("program", ["clip", "clipcli"])
def test_it_starts_by_either_name(program: str, installed: Path) -> None:
    assert Path(run(installed, "which", program).stdout.strip()) == installed / "bin" / program
    done = run(installed, program, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "clip classify img.jpg --labels cat,dog" in done.stdout


def test_label_sets_come_with_it(installed: Path) -> None:
    done = run(installed, "clip", "labels", "list", "--format", "jsonl")
    assert done.returncode == 0, done.stderr
    assert '"imagenet-1k"' in done.stdout


def test_the_bundled_model_names_a_sample_from_any_folder(installed: Path, tmp_path: Path) -> None:
    image = tmp_path / "image.png"
    shutil.copy(site_packages(installed) / "clipcli" / "demo" / "samples" / "cat.png", image)
    done = run(installed, "clip", "classify", image, "--labels", "cat,dog", "--model", "demo")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["label"] == "cat"


def test_a_wheel_without_the_bundled_model_says_so(installed: Path, tmp_path: Path) -> None:
    broken = shutil.copytree(site_packages(installed) / "clipcli", tmp_path / "clipcli")
    (broken / "demo" / "model.safetensors").unlink()
    arguments = ("classify", broken / "demo" / "samples" / "cat.png", "--labels", "cat,dog", "--model", "demo")
    done = run(installed, "clip", *arguments, PYTHONPATH=str(tmp_path))
    assert (done.returncode, done.stdout) == (4, "")
    assert "installation" in done.stderr


def test_man_shows_its_pages(installed: Path) -> None:
    folder = installed / "share" / "man"
    for page in (ROOT / "man").glob("*.[157]"):
        assert (folder / f"man{page.suffix[1:]}" / page.name).is_file(), page.name
    for reader in READERS:
        found = run(installed, reader, "-w", "clip-classify", MANPATH=f"{folder}:")
        assert found.stdout.strip() == str(folder / "man1" / "clip-classify.1"), reader
        assert "CLIP-LABELS(5)" in run(installed, reader, "5", "clip-labels", MANPATH=f"{folder}:").stdout
    if "man" in READERS:
        assert run(installed, "man", "-w", "clip").stdout.strip() == str(folder / "man1" / "clip.1")


@pytest.fixture
def home() -> Path:
    """The user's folder, which `user_folders` has made."""
    path = Path(os.environ["HOME"])
    path.mkdir(exist_ok=True)
    return path


def press_tab(shell: str, line: str, expected: str, environment: Path) -> None:
    """Type a line into a shell at a terminal, press Tab once, and wait for what it should become."""
    terminal, end = pty.openpty()
    variables = active(environment, TERM="xterm")
    process = subprocess.Popen([shell, "-i"], stdin=end, stdout=end, stderr=end, env=variables, start_new_session=True)
    os.close(end)
    try:
        read_until(PROMPT, terminal)
        os.write(terminal, line.encode())
        read_until(line, terminal)
        os.write(terminal, b"\t")
        read_until(expected, terminal)
    finally:
        process.kill()
        process.wait()
        os.close(terminal)


def read_until(expected: str, terminal: int) -> None:
    seen = b""
    while expected.encode() not in seen:
        assert select.select([terminal], [], [], HANGS_AFTER_S)[0], seen
        seen += os.read(terminal, 4096)


@pytest.mark.parametrize("shell", SHELLS)
def test_the_first_tab_in_a_shell(shell: str, installed: Path, home: Path) -> None:
    # The shell that asks is found by name among the parents; without the second command it would make place for clip.
    done = run(installed, shell, "-c", "clip --install-completion; true")
    assert f"{shell} completion installed in {home}" in done.stdout
    if shell == "fish":  # can say by itself what Tab would offer
        assert run(installed, shell, "-c", "complete -C 'clip labels show pet'").stdout.split()[0] == "pets"
        return
    with (home / f".{shell}rc").open("a") as settings:
        settings.write(f"\nPS1={PROMPT!r}\n")
    press_tab(shell, "clip labels show photo-su", "bjects", installed)
    press_tab(shell, "clip classify --devi", "ce", installed)


def test_a_script_of_a_user_is_checked_against_its_types(wheel: Path, tmp_path: Path) -> None:
    # Of what it depends on, only numpy is part of its types; mypy would take ten seconds to read torch.
    (tmp_path / "packages").mkdir()
    (tmp_path / "packages" / "numpy").symlink_to(Path(site.getsitepackages()[0]) / "numpy")
    environment = install(wheel, tmp_path / "venv", tmp_path / "packages")
    script = tmp_path / "script.py"
    script.write_text(
        "import clipcli\n"
        'model = clipcli.load("demo")\n'
        'label: str | None = model.classify(["img.jpg"], labels=["cat", "dog"])[0].label\n'
        "reveal_type(model)\n"
        'reveal_type(model.encode_images(["img.jpg"]))\n'
    )
    mypy = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", os.devnull]
    done = run(environment, *mypy, "--python-executable", environment / "bin" / "python", script)
    assert done.returncode == 0, done.stdout
    assert 'type is "clipcli.api.model.Model"' in done.stdout
    assert 'type is "numpy.ndarray[' in done.stdout
