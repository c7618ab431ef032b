"""The guide's programs run, and what is told of the version is true."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

import gtnet

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "notebooks" / "guide").glob("*.md"))
PROGRAMS = {
    page.stem: "\n".join(re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL))
    for page in PAGES
}


@pytest.fixture
def _losses_as_before():
    before = dict(gtnet.losses.LOSSES)
    yield
    gtnet.losses.LOSSES.clear()
    gtnet.losses.LOSSES.update(before)


@pytest.mark.usefixtures("_losses_as_before")
@pytest.mark.parametrize("page", [name for name, program in PROGRAMS.items() if program])
def test_programs_run(page):
    exec(compile(PROGRAMS[page], f"{page}.md", "exec"), {"__name__": page})


def test_the_version_is_told_everywhere():
    assert f"version: {gtnet.__version__}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"## {gtnet.__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_every_public_name_is_in_the_reference():
    pytest.importorskip("mkdocs")
    spec = importlib.util.spec_from_file_location("reference", ROOT / ".ci" / "reference.py")
    reference = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(reference)
    pages = dict(reference.pages())
    assert {"index", "losses", "interop", "reader", "compat"} <= set(pages)
    written = "\n".join(pages.values())
    for name in gtnet.__all__:
        if getattr(getattr(gtnet, name), "__module__", "").startswith("gtnet"):
            assert any(f"::: {place}.{name}\n" in written for place in ("gtnet", f"gtnet.{name}"))
