"""The pages in docs/: their examples run, their links lead somewhere, all names are there."""

import re
from importlib import import_module
from pathlib import Path

import pytest

from tests.text_examples import ROOT, examples, run

DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
CONFIG = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
LINK = re.compile(r"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)")
#: every public name of the package is one of these modules'
MODULES = set(re.findall(r"^::: (\S+)$", "\n".join(p.read_text("utf-8") for p in PAGES), re.M))


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
