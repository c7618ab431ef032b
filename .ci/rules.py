"""A rule no linter knows: the reader and the explorer see gtnet's public names only.

Those of csrc: headers.py.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

WINGS = {"reader", "explore"}


def public_names() -> set[str]:
    """What gtnet/__init__.pyi binds without a leading underscore."""
    names: set[str] = set()
    for node in ast.parse(Path("gtnet/__init__.pyi").read_text()).body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return {name for name in names if not name.startswith("_")} | {"__version__"}


def private_uses(tree: ast.AST, public: set[str]) -> Iterator[tuple[int, str]]:
    """Lines that reach past gtnet's public names, with what they reach for."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if node.level > 1 or (module.startswith("gtnet.") and not is_wing(module)):
                yield node.lineno, f"from {'.' * node.level}{module}"
            elif module == "gtnet":
                for alias in node.names:
                    if alias.name not in public | WINGS:
                        yield node.lineno, f"from gtnet import {alias.name}"
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.startswith("gtnet.") and not is_wing(alias.name):
                    yield node.lineno, f"import {alias.name}"
        elif (
            isinstance(node, ast.Attribute)
            and ast.unparse(node.value) == "gtnet"
            and node.attr not in public | WINGS
        ):
            yield node.lineno, f"gtnet.{node.attr}"


def is_wing(module: str) -> bool:
    """Whether it belongs to what is built on the public names."""
    return any(f"{module}.".startswith(f"gtnet.{wing}.") for wing in WINGS)


def complaints() -> Iterator[str]:
    public = public_names()
    for wing in sorted(WINGS):
        for path in sorted(Path("gtnet", wing).rglob("*.py")):
            for line, name in private_uses(ast.parse(path.read_text()), public):
                yield f"{path}:{line}: the {wing} uses gtnet's public names only, not '{name}'"


found = list(complaints())
print(*found, sep="\n", end="\n" if found else "")
sys.exit(bool(found))
