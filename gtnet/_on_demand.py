"""The public names of a package, imported when they are first asked for (PEP 562).

To execute a hundred modules takes longer than most programs work with any one of them. Where each
name is from stands in the package's stub alone, as import statements.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

_STATEMENT = re.compile(r"^from (\S+) import (\w+) as \2$", re.MULTILINE)


class _Package(ModuleType):
    """A package in which a function hides the module of the same name, in whatever order.

    Whoever imports `gtnet.compose` makes Python set the module `compose` on gtnet.
    """

    _homes: dict[str, str]

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, ModuleType) and self._homes.get(name) == value.__name__:
            value = getattr(value, name)
        super().__setattr__(name, value)

    def __reduce__(self) -> tuple[Callable[[str], ModuleType], tuple[str]]:
        # For cloudpickle, which sends functions that use gtnet and knows only plain modules.
        return import_module, (self.__name__,)


def import_on_demand(
    package: str,
) -> tuple[list[str], Callable[[str], Any], Callable[[], list[str]]]:
    """`__all__`, `__getattr__` and `__dir__` of a package, by what its stub imports.

    Other modules of the package can be asked for too, as if all had been imported.
    """
    module = sys.modules[package]
    homes = _homes(module)
    module.__class__ = _Package
    vars(module)["_homes"] = homes

    def getattribute(name: str) -> Any:
        home = homes.get(name, package)
        if home != package:
            setattr(module, name, getattr(import_module(home), name))
        elif not _is_module(package, name):
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return vars(module)[name]

    def names() -> list[str]:
        return sorted({*vars(module), *homes})

    return sorted(homes), getattribute, names


def _homes(package: ModuleType) -> dict[str, str]:
    """The module that defines each name; that of a module is its package."""
    assert package.__file__ is not None
    stub = Path(package.__file__).with_suffix(".pyi").read_text(encoding="utf-8")
    return {name: home for home, name in _STATEMENT.findall(stub)}


def _is_module(package: str, name: str) -> bool:
    """Whether there is a public module of that name, which is imported then."""
    if name.startswith("_"):
        return False
    module = f"{package}.{name}"
    try:
        import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        return False
    return True
