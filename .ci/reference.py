"""The pages of the site that are made: the API reference, the front page. Hooks of mkdocs.

Nothing is listed by hand: what `gtnet/__init__.pyi` exports is documented, every notebook is a
tutorial, and the README is the front page.
"""

from __future__ import annotations

import ast
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
BESIDE = [
    "gtnet.nn",
    "gtnet.reader",
    "gtnet.explore",
]  # public, and perhaps not imported with gtnet
GUIDE = ["your-own-forms", "scale", "explore", "coming-from", "operations", "formats", "latent"]
GUIDE += ["platforms", "trust", "design", "csrc", "extending", "benchmarks", "decoding", "losses"]
GUIDE += ["few-labels", "gpu", "contributing", "changes"]
COPIED = {  # pages that are files of the repository, so that both have one text
    "README.md": "index.md",
    "csrc/README.md": "guide/csrc.md",
    "benchmarks/DECODING.md": "guide/decoding.md",
    "benchmarks/LOSSES.md": "guide/losses.md",
    "benchmarks/LATENT.md": "guide/few-labels.md",
    "benchmarks/GPU.md": "guide/gpu.md",
}
INCLUDED = {  # files that a page includes
    "benchmarks/RESULTS.md": "guide/benchmarks.md",
    "CONTRIBUTING.md": "guide/contributing.md",
    "CHANGELOG.md": "guide/changes.md",
}
LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!\w+:|#)([^)#]+)(#[^)]*)?\)")


class Exported(NamedTuple):
    """A public name, the module that defines it, and whether it is a module itself."""

    name: str
    module: str
    is_module: bool


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Puts the pages in order."""
    notebooks = sorted(path.name for path in Path(config.docs_dir).glob("*.ipynb"))
    reference = sorted(f"reference/{name}.md" for name, _ in pages() if name != "index")
    config.nav = [
        "index.md",
        *([{"Tutorials": notebooks}] if notebooks else []),
        {"Guide": [f"guide/{page}.md" for page in GUIDE]},
        {"Reference": ["reference/index.md", *reference]},
    ]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages of the reference, copied pages, and the pictures of the benchmarks' page."""
    for name, text in pages():
        files.append(File.generated(config, f"reference/{name}.md", content=text))
    for path, place in COPIED.items():
        files.append(File.generated(config, place, content=(ROOT / path).read_text()))
    for picture in (ROOT / "benchmarks").glob("*.svg"):
        place = f"guide/{picture.name}"
        files.append(File.generated(config, place, abs_src_path=str(picture)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links that lead through the repository lead through the site instead."""
    places = {place: path for path, place in COPIED.items()}
    here = page.file.src_uri
    folder = posixpath.dirname(places.get(here, f"notebooks/{here}"))

    def lead(found: re.Match[str]) -> str:
        picture, text, path, anchor = found.groups()
        target = posixpath.normpath(posixpath.join(folder, path))
        place = {**COPIED, **INCLUDED}.get(target, target.removeprefix("notebooks/"))
        if files.get_file_from_path(place) is None:
            return text if (ROOT / target).exists() else found[0]  # mkdocs complains of the latter
        relative = posixpath.relpath(place, posixpath.dirname(here) or ".")
        return f"{picture}[{text}]({relative}{anchor or ''})"

    return LINK.sub(lead, markdown) if not here.endswith(".ipynb") else markdown


def pages() -> Iterator[tuple[str, str]]:
    """Name and Markdown of every page."""
    index = [
        "# Reference",
        "Everything public, by the module it lives in: `gtnet.compose`, `gtnet.losses.ctc_loss`. "
        "`gtnet.EPSILON` is -1, the label that reads or writes nothing.",
    ]
    modules: dict[str, list[str]] = {}
    for found in exported("gtnet"):
        if not found.is_module and not found.name.isupper():
            whole = f"gtnet.{found.name}"  # which a module of the same name would hide
            name = f"{found.module}.{found.name}" if is_file(whole) else whole
            modules.setdefault(found.module, []).append(name)
    for module, names in modules.items():
        page = module.removeprefix("gtnet.").replace(".", "_")
        index.append(entry(page, module, names))
        yield page, "\n\n".join([heading(module), *(f"::: {n}" for n in names)]) + "\n"
    packages = [f"gtnet.{found.name}" for found in exported("gtnet") if found.is_module]
    for package in dict.fromkeys([*packages, *filter(is_file, BESIDE)]):
        page, names = package.removeprefix("gtnet."), package_names(package)
        index.append(entry(page, package, names))
        yield page, package_page(package)
    index.append(entry("compat", "gtnet.compat.gtn", []))
    title = heading("gtnet.compat.gtn")
    yield "compat", module_block("gtnet.compat.gtn", members=False, title=title)
    yield "index", "\n\n".join(index) + "\n"


def entry(page: str, module: str, names: list[str]) -> str:
    """A line of the overview."""
    listed = ", ".join(f"`{name.rpartition('.')[2]}`" for name in names)
    return f"[{summary(module)}]({page}.md)  \n{listed}".rstrip()


def package_names(package: str) -> list[str]:
    """What a package exports, as dotted names."""
    return [f"{package}.{found.name}" for found in exported(package)]


def package_page(package: str) -> str:
    """All that a package exports on one page; modules with all their members."""
    if file_of(package).name != "__init__.py":
        return module_block(package, members=True, title=heading(package))
    blocks = [heading(package)]
    for found in exported(package):
        if found.is_module:
            title = f"## {package}.{found.name}"
            blocks.append(module_block(f"{package}.{found.name}", members=True, title=title))
        else:
            blocks.append(f"::: {package}.{found.name}")
    return "\n\n".join(blocks) + "\n"


def module_block(module: str, *, members: bool, title: str) -> str:
    """A module under a title of ours."""
    options = {"show_root_heading": "false", "show_root_toc_entry": "false"}
    if not members:
        options["members"] = "false"
    lines = "\n".join(f"      {name}: {value}" for name, value in options.items())
    return f"{title}\n\n::: {module}\n    options:\n{lines}\n"


def file_of(module: str) -> Path:
    """The source of a module or package."""
    path = ROOT.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def exported(package: str) -> list[Exported]:
    """What the __init__ of a package, or its stub, imports by `as`, from within gtnet."""
    found = []
    stub = file_of(package).with_suffix(".pyi")
    source = stub if stub.exists() else file_of(package)
    for node in ast.parse(source.read_text()).body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("gtnet"):
            for alias in node.names:
                if alias.asname:
                    whole = f"{node.module}.{alias.name}"
                    found.append(Exported(alias.asname, node.module or "", is_file(whole)))
    return found


def is_file(module: str) -> bool:
    return file_of(module).exists()


def heading(module: str) -> str:
    """The title of a module's page: its name in the menu, what it is about on the page."""
    return f"---\ntitle: {module.removeprefix('gtnet.')}\n---\n\n# {summary(module)}"


def summary(module: str) -> str:
    """The first line of a module's docstring, without its full stop."""
    text = ast.get_docstring(ast.parse(file_of(module).read_text())) or module
    first = " ".join(text.split("\n\n")[0].split())
    return first.removesuffix(".")
