"""The checkout is as its README says: targets, files, versions, messages."""

from __future__ import annotations

import re
from pathlib import Path

import gtnet

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_targets_and_files_exist():
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"`make (\w+)`", README):
        assert f"\n{target}:" in makefile, target
    for place in re.findall(r"\]\((?!https?:)([^)#]+)", README):
        assert (ROOT / place).is_file(), place


def test_the_version_is_the_same_everywhere():
    version = gtnet.__version__
    changes, citation = (ROOT / name for name in ("CHANGELOG.md", "CITATION.cff"))
    dated = re.search(r"^## (\S+), (\d{4}-\d\d-\d\d)$", changes.read_text(), re.MULTILINE)
    assert dated and dated[1] == version
    assert f"\nversion: {version}\ndate-released: {dated[2]}\n" in citation.read_text()
    assert f'\n  version: "{version}"\n' in (ROOT / ".ci/conda/recipe.yaml").read_text()
    assert f"new, {version.rpartition('.')[0]} " in README


def test_every_message_of_the_troubleshooting_table_exists():
    sources = " ".join(
        re.sub(r'"\s*\n\s*f?"', "", path.read_text())
        for path in [ROOT / "setup.py", *(ROOT / "gtnet").rglob("*.py")]
    )
    table = README.partition("## Troubleshooting")[2].partition("\n## ")[0]
    messages = re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE)
    assert len(messages) == 6
    # What the sources put into braces, and the table spells out.
    filled = {"no g++": "no {cxx[0]}", "_cpu.abi3.so": "{library}", "max_arcs=...": "max_arcs="}
    for message in messages:
        for shown, written in filled.items():
            message = message.replace(shown, written)
        assert message in sources, message
