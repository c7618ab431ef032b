"""`import gtnet` loads the operators; every other module is imported when a name of it is used."""

from __future__ import annotations

import ast
import importlib
import pickle
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import gtnet

ROOT = Path(__file__).parents[1]


def in_a_new_python(program: str) -> str:
    told = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert told.returncode == 0, told.stderr
    return told.stdout.strip()


def test_what_is_imported_and_in_which_order_names_hide_modules() -> None:
    told = in_a_new_python(
        "import sys\n"
        "import torch\n"
        "before = set(sys.modules)\n"
        "import gtnet\n"
        "new = {m for m in set(sys.modules) - before if not m.startswith('gtnet._ops')}\n"
        "below = {'_on_demand', '_checks', '_numbers', '_ordinary'}\n"  # what operators need
        "assert new == {'gtnet', *(f'gtnet.{name}' for name in below)}, new\n"
        "assert torch.ops.gtnet.compose\n"
        "assert set(gtnet.__all__) <= set(dir(gtnet)) and 'compose' not in vars(gtnet)\n"
        "import gtnet.compose\n"  # binds the module, where the function belongs
        "from gtnet import draw, load, topology\n"
        "assert gtnet.compose.__name__ == 'compose' and draw is gtnet.draw\n"
        "g = gtnet.linear([0, 1])\n"
        "assert callable(gtnet.compose) and (g @ g).num_arcs == 2\n"
        "assert 'gtnet.losses' not in sys.modules\n"
        "print(gtnet.losses.ctc_loss.__name__)\n"
    )
    assert told == "ctc_loss"


def test_every_name_of_the_stub_is_what_its_statement_imports() -> None:
    listed = set()
    for node in ast.parse((ROOT / "gtnet" / "__init__.pyi").read_text()).body:
        if isinstance(node, ast.ImportFrom):
            assert node.module is not None
            home = importlib.import_module(node.module)
            for alias in node.names:
                assert alias.asname == alias.name  # what a type checker takes as exported
                assert getattr(gtnet, alias.name) is getattr(home, alias.name)
                listed.add(alias.name)
    assert listed == set(gtnet.__all__)
    modules = {name for name in listed if isinstance(getattr(gtnet, name), ModuleType)}
    assert modules == {"decode", "interop", "latent", "losses", "nn"}


def test_modules_are_found_and_nothing_else() -> None:
    assert isinstance(gtnet.alignments, ModuleType)
    for name in ("nothing", "_nothing"):
        assert not hasattr(gtnet, name)
    with pytest.raises(ImportError, match="cannot import name 'nothing' from 'gtnet'"):
        from gtnet import nothing  # noqa: F401


def test_other_values_may_take_the_place_of_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as changed:
        changed.setattr(gtnet, "losses", importlib.import_module("gtnet.nn"))
        assert gtnet.losses.__name__ == "gtnet.nn"
    assert gtnet.losses.__name__ == "gtnet.losses"


def test_functions_that_use_the_package_are_pickled() -> None:
    assert pickle.loads(pickle.dumps(gtnet)) is gtnet
    cloudpickle = pytest.importorskip("cloudpickle")
    namespace = {"gtnet": gtnet, "__name__": "__main__"}
    exec("def arcs():\n    return gtnet.linear([0, 1]).num_arcs", namespace)
    assert pickle.loads(cloudpickle.dumps(namespace["arcs"]))() == 2
