"""Every header of csrc compiles alone, and includes only what its folder may.

    python .ci/headers.py              check all, as `make lint` does
    python .ci/headers.py --rules      the rules of folders only, which takes no compiler

Each header is compiled by itself (-fsyntax-only); the result is kept in build/headers until the
header, what it includes or this file changes. Headers for nvcc are left out where there is none.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

CSRC = Path("csrc")
# What each folder may include besides itself, directly or through others.
MAY_INCLUDE: dict[str, set[str]] = {
    "core": set(),
    "layout": {"core"},
    "block": {"core"},
    "rewrite": {"core", "layout", "block"},
    "paths": {"core", "layout", "block"},
    "lattice": {"core", "layout", "block", "paths"},
    "beam": {"core", "layout", "block", "rewrite", "paths"},
    "ops": {"core", "layout", "block", "rewrite", "paths", "lattice", "beam"},
}
EMULATED = {("ops", "gpu"), ("ops", "emulated")}  # kernels need an executor: the one for CPUs
# Clang begins these reductions of floats with the largest finite number and not with infinity.
EXTREMES = re.compile(r"reduction\((?:max|min)")
NOT_INFINITE = {"lattice/cpu/spmv_scaled.h", "lattice/cpu/cut_sums.h"}  # integers; no less than 0
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.MULTILINE)
TORCH = ("torch/", "ATen/", "c10/", "Python.h")
ABI = ["-DTORCH_TARGET_VERSION=0x020a000000000000", "-DPy_LIMITED_API=0x030a0000"]


def files() -> list[Path]:
    kinds = {".h", ".cuh", ".cpp", ".cu"}
    return sorted(path for path in CSRC.rglob("*") if path.suffix in kinds)


@cache
def includes(path: Path) -> tuple[tuple[str, str], ...]:
    """The include lines of a file, as ("<" or quote, name)."""
    return tuple(INCLUDE.findall(path.read_text()))


def chains(
    path: Path, chain: tuple[Path, ...] = (), seen: set[Path] | None = None
) -> Iterator[tuple[tuple[Path, ...], str]]:
    """Every name that a file includes, itself or through others, with the way to it."""
    seen = set() if seen is None else seen
    for _, name in includes(path):
        yield (*chain, path), name
        inner = CSRC / name
        if inner.is_file() and inner not in seen:
            seen.add(inner)
            yield from chains(inner, (*chain, path), seen)


def broken_rules() -> Iterator[str]:
    for path in files():
        own = path.relative_to(CSRC).parts
        if own[0] not in MAY_INCLUDE:
            yield f"{path}: csrc has the folders {', '.join(MAY_INCLUDE)}; a new one needs its rule"
            continue
        for way, name in chains(path):
            through = "".join(f" -> {step}" for step in (*way[1:], name))
            if name.startswith(TORCH):
                if own[0] != "ops":
                    yield f"{path}: only csrc/ops may include torch:{through}"
                continue
            parts = Path(name).parts
            if not (CSRC / name).is_file():
                continue
            if parts[0] != own[0] and parts[0] not in MAY_INCLUDE[own[0]]:
                yield f"{path}: {own[0]}/ may not include {parts[0]}/:{through}"
            for one, other in (("cpu", "gpu"), ("gpu", "cpu")):
                if one in own and other in parts:
                    yield f"{path}: what is in {one}/ may not include {other}/:{through}"
        if EXTREMES.search(path.read_text()) and "/".join(own) not in NOT_INFINITE:
            yield f"{path}: no reductions by max or min where -inf may come: see core/extremes.h"
        for quote, name in includes(path):
            if quote == '"' and not (CSRC / name).exists():
                yield f'{path}: "{name}" is no file of csrc: includes are written from csrc on'


def compiler(header: Path) -> list[str] | None:
    """The command that compiles a header alone, or None where there is no compiler for it."""
    import torch

    torch_headers = Path(torch.__file__).parent / "include"
    common = ["-std=c++20", *ABI, f"-I{CSRC}", "-isystem", str(torch_headers)]
    if header.suffix == ".cuh":
        home = os.environ.get("CUDA_HOME", "/usr/local/cuda")
        nvcc = shutil.which("nvcc") or shutil.which(f"{home}/bin/nvcc")
        if nvcc is None:
            return None
        return [nvcc, *common, "-DUSE_CUDA", "-x", "cu", "-cuda", "-o", os.devnull, str(header)]
    warnings = ["-Wall", "-Wextra", "-Werror", "-Wno-unused-function", "-fopenmp-simd"]
    emulated = header.name == "emulated.h" or header.parts[1:3] in EMULATED
    cxx = shlex.split(os.environ.get("CXX") or "g++")
    options = [*warnings, "-fvisibility=hidden", *(["-DGTNET_EMULATED"] if emulated else [])]
    unit = ["-fsyntax-only", "-include", str(header), "-x", "c++", os.devnull]
    return [*cxx, *common, *options, *unit]


def alone(header: Path) -> str:
    """What the compiler says against a header by itself; nothing where it is fine."""
    command = compiler(header)
    if command is None:
        return ""
    stamp = Path("build/headers") / header.relative_to(CSRC).with_suffix(header.suffix + ".ok")
    included = {CSRC / name for _, name in chains(header) if (CSRC / name).exists()}
    made_from = [header, *included, Path(__file__)]
    if stamp.exists() and all(path.stat().st_mtime < stamp.stat().st_mtime for path in made_from):
        return ""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode == 0:
        stamp.parent.mkdir(parents=True, exist_ok=True)
        stamp.touch()
        return ""
    return f"{header} does not compile alone:\n{done.stderr[:2000]}"


def main(arguments: list[str]) -> int:
    found = list(broken_rules())
    if "--rules" not in arguments:
        headers = [path for path in files() if path.suffix in {".h", ".cuh"}]
        with ThreadPoolExecutor(max(2, len(os.sched_getaffinity(0)))) as pool:
            found += [said for said in pool.map(alone, headers) if said]
        print(f"{len(headers)} headers of csrc looked at")
    print(*found, sep="\n", end="\n" if found else "")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
