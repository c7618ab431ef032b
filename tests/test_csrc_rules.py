"""The check of csrc's folders refuses what their rules forbid, and headers that need others."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from types import ModuleType

import pytest

CHECK = Path(__file__).parents[1] / ".ci" / "headers.py"
pytestmark = pytest.mark.skipif(not CHECK.is_file(), reason="needs a checkout: .ci/headers.py")


@pytest.fixture
def headers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The check, over an empty csrc."""
    spec = importlib.util.spec_from_file_location("headers", CHECK)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.chdir(tmp_path)
    return module


def plant(**files: str) -> None:
    """Writes files of csrc; `core__a` is core/a.h."""
    for name, text in files.items():
        path = Path("csrc", name.replace("__", "/") + ".h")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("#pragma once\n" + text)


@pytest.mark.parametrize(
    ("files", "refused"),
    [
        ({"core__a": '#include "paths/b.h"', "paths__b": ""}, "core/ may not include paths/"),
        ({"core__a": "#include <paths/b.h>", "paths__b": ""}, "core/ may not include paths/"),
        (
            {
                "paths__a": '#include "paths/b.h"',
                "paths__b": "# include <core/c.h>",
                "core__c": '#include "lattice/d.h"',
                "lattice__d": "",
            },
            "paths/ may not include lattice/: -> csrc/paths/b.h -> csrc/core/c.h -> lattice/d.h",
        ),
        (
            {
                "rewrite__a": '#include "rewrite/b.h"',
                "rewrite__b": '#include "core/c.h"',
                "core__c": "#include <torch/csrc/stable/tensor.h>",
            },
            "csrc/rewrite/a.h: only csrc/ops may include torch:"
            " -> csrc/rewrite/b.h -> csrc/core/c.h -> torch/csrc/stable/tensor.h",
        ),
        ({"core__a": "#include <Python.h>"}, "only csrc/ops may include torch"),
        (
            {"paths__cpu__a": '#include "paths/gpu/b.h"', "paths__gpu__b": ""},
            "what is in cpu/ may not include gpu/",
        ),
        (
            {
                "beam__gpu__a": '#include "block/b.h"',
                "block__b": '#include "block/cpu/c.h"',
                "block__cpu__c": "",
            },
            "what is in gpu/ may not include cpu/: -> csrc/block/b.h -> block/cpu/c.h",
        ),
        ({"core__a": '#include "../paths/b.h"'}, "is no file of csrc"),
        ({"core__a": "// GTNET_SIMD(reduction(max : best))"}, "no reductions by max or min"),
        ({"new__a": ""}, "csrc has the folders core, layout"),
        ({"a": ""}, "csrc has the folders core, layout"),
    ],
)
def test_forbidden_includes_are_refused(
    headers: ModuleType, files: dict[str, str], refused: str, capsys: pytest.CaptureFixture[str]
) -> None:
    plant(**files)
    assert headers.main(["--rules"]) == 1
    assert refused in capsys.readouterr().out


def test_what_the_rules_allow_passes(
    headers: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    plant(
        ops__cpu__a='#include "lattice/b.h"\n#include <torch/csrc/stable/tensor.h>',
        lattice__b='#include "paths/c.h"',
        paths__c="#include <core/d.h>\n#include <vector>",
        core__d="",
    )
    assert headers.main(["--rules"]) == 0
    assert capsys.readouterr().out == ""


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
def test_a_header_that_needs_another_is_refused(
    headers: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("CXX", raising=False)
    plant(core__a="struct A {};", core__b="struct B { A a; };")
    assert headers.main([]) == 1
    said = capsys.readouterr().out
    assert "csrc/core/b.h does not compile alone" in said and "csrc/core/a.h" not in said
    plant(core__b='#include "core/a.h"\nstruct B { A a; };')
    assert headers.main([]) == 0
