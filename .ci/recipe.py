"""The conda recipe renders on each platform, and says what pyproject.toml says."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import tomllib
from rattler_build import PlatformConfig, RenderConfig, Stage0Recipe, VariantConfig

# What a channel says of its compilers.
VARIANTS = {"cxx_compiler": ["gxx"], "c_stdlib": ["sysroot"], "c_stdlib_version": ["2.28"]}
CONDA_NAMES = {"torch": "pytorch"}


def conda(requirement: str) -> str:
    """A requirement of pip's in conda's words."""
    name, limit = re.fullmatch(r"([\w-]+)(.*)", requirement).groups()
    return f"{CONDA_NAMES.get(name, name)} {limit}".strip()


project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
version = re.search('^__version__ = "(.*)"', Path("gtnet/__init__.py").read_text(), re.M)[1]
wanted = (project["name"], version, {"python", *map(conda, project["dependencies"])})
recipe = Stage0Recipe.from_file(".ci/conda/recipe.yaml")
for platform in ("linux-64", "linux-aarch64"):
    target = PlatformConfig(target_platform=platform, host_platform=platform)
    (rendered,) = recipe.render(VariantConfig(VARIANTS), RenderConfig(target))
    found = rendered.recipe
    said = (found.package.name, str(found.package.version), {*map(str, found.requirements.run)})
    if said != wanted:
        sys.exit(f"{platform}: the recipe says {said}, and pyproject.toml {wanted}")
    print(f"{platform}: {rendered}")
