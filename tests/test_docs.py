"""The pages in docs/: their examples run, their links lead somewhere, all names are there."""

import re
from importlib import import_module
from inspect import isclass, isroutine
from pathlib import Path
from runpy import run_path

import pytest

from tests.text_examples import ROOT, examples, run

DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
CONFIG = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
LINK = re.compile(r"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)")
REFERENCE = run_path(str(DOCS / "write_reference.py"))
#: every public name of the package is one of these modules'
MODULES = {module for _, modules in REFERENCE["PAGES"].values() for module in modules}


@pytest.mark.parametrize(
    ("code", "shown"), [example for page in PAGES for example in examples(page)]
)
def test_example(code: str, shown: str | None, tmp_path: Path):
    """An example runs as a program of its own, without warnings, and prints what is shown."""
    assert shown is not None, "an example shows what it prints"
    run(code, shown, tmp_path)


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_pages_are_in_the_navigation(page: Path):
    """Under their path."""
    assert f": {page.relative_to(DOCS).as_posix()}\n" in CONFIG


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_links_lead_to_files(page: Path):
    """Those within the documentation."""
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


def test_all_public_names_are_in_the_reference():
    """Whatever a module exports, and what the package itself does, is on a page."""
    assert {"rxpool.operators", "rxpool.pool", "rxpool.policies"} <= MODULES
    known = {name for module in MODULES for name in import_module(module).__all__}
    missing = set(import_module("rxpool").__all__) - known - {"operators"}
    assert not missing


@pytest.mark.parametrize("page", sorted(REFERENCE["pages"]()), ids=lambda page: page.stem)
def test_the_reference_says_what_the_docstrings_say(page: Path):
    """Or ``python docs/write_reference.py`` is to be run."""
    assert page.read_text(encoding="utf-8") == REFERENCE["pages"]()[page]


def test_each_class_and_function_has_an_entry():
    """With its text; the names of the package itself among them."""
    text = "".join(page.read_text(encoding="utf-8") for page in (DOCS / "reference").iterdir())
    entries = set(re.findall(r"^## `(\w+)", text, re.M))
    package = import_module("rxpool")
    for name in package.__all__:
        if isclass(getattr(package, name)) or isroutine(getattr(package, name)):
            assert name in entries
    for body in re.findall(r"^##+ `[^\n]+\n\n(.*)$", text, re.M):
        assert body
        assert not body.startswith("#")
