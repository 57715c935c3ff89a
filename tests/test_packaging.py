"""What is on the disk, what is packaged, and what is exported."""

import ast
import configparser
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SETUP = ROOT / "setup.cfg"

pytestmark = pytest.mark.skipif(not SETUP.exists(), reason="needs the source tree")


def sources(*folders):
    """The Python files of folders of the repository; links are not followed."""
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            if not any(part.is_symlink() for part in (path, *path.parents)):
                yield path


def module_name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    if parts[0] == "operators":
        parts = ("rxpool", *parts)
    return ".".join(parts).removesuffix(".__init__")


MODULES = {module_name(path): path for path in sources("rxpool", "operators")}


def options(section):
    config = configparser.ConfigParser()
    config.read(SETUP, encoding="utf-8")
    return config[section]


def test_all_packages_are_listed():
    """setup.cfg lists exactly the folders that have an ``__init__.py``."""
    listed = options("options")["packages"].split()
    on_disk = {module_name(p) for p in MODULES.values() if p.name == "__init__.py"}
    assert sorted(listed) == listed
    assert set(listed) == on_disk


def test_the_operators_are_mapped():
    """The folder ``operators`` is installed as ``rxpool.operators``."""
    lines = options("options")["package_dir"].split("\n")
    mapped = dict(line.replace(" ", "").split("=") for line in lines if line)
    assert mapped["rxpool.operators"] == "operators"
    assert importlib.import_module("rxpool.operators").__name__ == "rxpool.operators"


def test_the_marker_of_typed_packages_is_packaged():
    """Type checkers look for it in what is installed."""
    assert "py.typed" in options("options.package_data")["rxpool"].split()
    assert (ROOT / "rxpool" / "py.typed").exists()


def test_the_link_and_the_folder_are_the_same():
    """``rxpool/operators`` holds the same files, with the same bytes, as ``operators``."""
    linked, folder = ROOT / "rxpool" / "operators", ROOT / "operators"
    names = {path.name for path in folder.glob("*.py")}
    assert names == {path.name for path in linked.glob("*.py")}
    assert "__init__.py" in names
    for name in names:
        assert (linked / name).read_bytes() == (folder / name).read_bytes()


def imported(path):
    """The modules that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or "")


def test_nobody_imports_bare_operators():
    """The folder is on the path of the source tree, but not of what is installed."""
    for path in sources("rxpool", "operators", "tests", "examples", "benchmarks", "docs"):
        for name in imported(path):
            assert name.split(".")[0] != "operators", f"{path}: import {name}"
            assert not name.startswith("."), f"{path}: relative import {name}"


def public_definitions(path):
    """The names without underscore that a module binds at its top, imports aside."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names = [node.name]
        elif isinstance(node, ast.Assign):
            names = [target.id for target in node.targets if isinstance(target, ast.Name)]
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names = [node.target.id]
        else:
            continue
        yield from (name for name in names if not name.startswith("_"))


@pytest.mark.parametrize("name", MODULES)
def test_exports_are_complete_and_exist(name):
    """``__all__`` names all that a module defines for others, once, and all of it is there."""
    module = importlib.import_module(name)
    exported = list(getattr(module, "__all__", ()))
    assert len(set(exported)) == len(exported)
    assert [each for each in exported if not hasattr(module, each)] == []
    assert [each for each in public_definitions(MODULES[name]) if each not in exported] == []


def test_an_exported_package_exports_what_it_imports_of_its_own():
    """What a package's ``__init__`` imports from its modules is what it gives to others."""
    for name, path in MODULES.items():
        if path.name != "__init__.py":
            continue
        names = {
            alias.asname or alias.name
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("rxpool.")
            for alias in node.names
            if alias.name != "lazily"
        }
        exported = set(getattr(importlib.import_module(name), "__all__", ()))
        assert {each for each in names if not each.startswith("_")} <= exported, name


def test_importing_all_modules_leaves_signals_alone():
    """Also the module of the fork server, which blocks some there."""
    code = (
        "import importlib, signal\n"
        "def now():\n"
        "    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [])\n"
        "    return signal.getsignal(signal.SIGINT), mask\n"
        "before = now()\n"
        f"for name in {sorted(MODULES)!r}:\n"
        "    importlib.import_module(name)\n"
        "assert now() == before, now()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
