"""The extensions: _cpu always, _cuda for a CUDA build of torch, _emulated and _fibers for tests.

These two run the CUDA kernels on the CPU. They are built in place only, so no wheel holds them.

They are torch libraries, not Python modules: no PyInit, no Python.h, loaded by
`torch.ops.load_library`. Environment variables:

GTNET_CUDA      0 never builds _cuda, 1 requires it; by default it is built where nvcc is found
                and torch is a CUDA build, since no other torch can load it
GTNET_EMULATED  0 leaves _emulated out, fibers builds _fibers in its place
GTNET_WERROR    1 turns warnings into errors
GTNET_SANITIZE  address,undefined or thread: with these sanitizers, see make sanitize
GTNET_TORCH     the folder of the torch to compile against, by default that of this Python: for a
                CXX that compiles for another machine, see make wheel-aarch64
MAX_JOBS        how many compilers run at once; CXX, CXXFLAGS and LDFLAGS as usual
"""

from __future__ import annotations

import importlib.util
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError, PlatformError
from setuptools.modified import newer_group

# Any Python from 3.10 and any torch from 2.10 may load what is compiled with these.
ABI = ["-DTORCH_TARGET_VERSION=0x020a000000000000", "-DPy_LIMITED_API=0x030a0000"]
HOST = ["-fPIC", "-fvisibility=hidden", "-Wall", "-Wextra"]
MATH = ["-fopenmp-simd", "-fno-math-errno", "-fno-trapping-math"]  # so that loops vectorize
# Vectors gather with one instruction, where GCC's generic tuning loads lane by lane, and are as
# wide as AVX-512 has them where it is used, of which both compilers take half unless told.
# On ARM, GCC notes at every pair of doubles that version 10 changed how they are passed.
PROCESSOR = {
    "x86_64": ["-mtune=sapphirerapids", "-mprefer-vector-width=512"],
    "aarch64": ["-Wno-psabi"],
}
# Symbols of Python, which no extension links, are looked up when it is loaded.
LINK = {"linux": ["-Wl,--no-as-needed"], "darwin": ["-Wl,-undefined,dynamic_lookup"]}
GPUS = ["arch=compute_80,code=sm_80", "arch=compute_90,code=[sm_90,compute_90]"]
EMULATIONS = {
    "gtnet._emulated": ["-DGTNET_EMULATED"],
    "gtnet._fibers": ["-DGTNET_EMULATED", "-DGTNET_FIBERS"],
}
CUDA = os.environ.get("GTNET_CUDA", "")
# Clang tells of the deprecated parts of libstdc++ that its own functions use, and of loops that it
# does not vectorize.
WERRORS = {
    "cxx": ["-Werror", "-Wno-error=deprecated-declarations", "-Wno-pass-failed"],
    "nvcc": ["-Werror", "all-warnings"],
}
WERROR = os.environ.get("GTNET_WERROR") == "1"
SANITIZE = os.environ.get("GTNET_SANITIZE", "")
# One folder for builds in several places, as of an sdist beside the checkout it was made from.
OBJECTS = Path(os.environ.get("GTNET_OBJECTS") or Path("build", "objects"))
# An error ends the process. No vptr: torch's types lie behind hidden symbols.
SANITIZERS = [f"-fsanitize={SANITIZE}", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"]
SANITIZERS = [*SANITIZERS, "-fno-sanitize=vptr", "-g1", "-O1"] if SANITIZE else []


def find_cxx() -> list[str]:
    if sys.platform not in LINK:
        raise PlatformError(f"gtnet builds on Linux and macOS, and this is {sys.platform}.")
    cxx = shlex.split(os.environ.get("CXX") or "g++")
    if shutil.which(cxx[0]) is None:
        raise PlatformError(
            f"gtnet needs a C++20 compiler and found no {cxx[0]}: "
            "install g++ 11 or newer, or name another compiler in CXX."
        )
    return cxx


def target() -> tuple[str, str]:
    """The processor and the system that the compiler compiles for, which need not be this one."""
    asked = [*find_cxx(), "-dumpmachine"]  # x86_64-linux-gnu, arm64-apple-darwin24
    triple = subprocess.run(asked, capture_output=True, text=True).stdout.strip()
    processor = triple.partition("-")[0]
    return processor, "darwin" if re.search("darwin|macos", triple) else "linux"


def find_nvcc() -> str | None:
    homes = [os.environ.get(name) for name in ("CUDA_HOME", "CUDA_PATH")] + ["/usr/local/cuda"]
    places = [f"{home}/bin" for home in homes if home] + [os.environ.get("PATH", "")]
    return shutil.which("nvcc", path=os.pathsep.join(places))


def find_torch() -> Path:
    if os.environ.get("GTNET_TORCH"):
        return Path(os.environ["GTNET_TORCH"])
    spec = importlib.util.find_spec("torch")
    if spec is None or not spec.submodule_search_locations:
        raise PlatformError(
            "gtnet is compiled against torch >= 2.10 and this Python has no torch: "
            "pip install torch, or leave out --no-build-isolation."
        )
    return Path(spec.submodule_search_locations[0])


def has_cuda_torch() -> bool:
    """Whether torch is a CUDA build; read from its version file, as importing it takes seconds."""
    try:
        return runpy.run_path(str(find_torch() / "version.py")).get("cuda") is not None
    except PlatformError:
        return False  # an sdist needs no torch


def stale(out: str, includes_of: str) -> bool:
    """Whether `out`, its list of includes, or what stands on that list is missing or newer."""
    if not Path(includes_of).exists():
        return True
    rule = Path(includes_of).read_text().replace("\\\n", " ")
    return newer_group([*shlex.split(rule.partition(":")[2]), __file__], out, missing="newer")


def made_otherwise(place: Path, how: list[str]) -> bool:
    """Whether another compiler or other flags than `how` made the object, which is then deleted."""
    ignored = {*WERRORS["cxx"], *WERRORS["nvcc"]}
    record, now = Path(f"{place}.how"), shlex.join(flag for flag in how if flag not in ignored)
    if record.exists() and record.read_text() == now:
        return False
    Path(f"{place}.o").unlink(missing_ok=True)  # so that the record is true of what is there
    record.write_text(now)
    return True


def run(command: list[str]) -> None:
    print(shlex.join(command), flush=True)
    if subprocess.run(command).returncode != 0:
        raise CompileError(f"{command[0]} failed; see its messages above.")


class Build(build_ext):
    """Compiles stale files side by side and links them; torch's headers are its only need."""

    def finalize_options(self) -> None:
        super().finalize_options()
        if not self.inplace and not SANITIZE:
            self.extensions = [ext for ext in self.extensions if ext.name not in EMULATIONS]

    def get_ext_filename(self, fullname: str) -> str:
        return fullname.replace(".", os.sep) + ".abi3.so"

    def build_extensions(self) -> None:
        """Compiles the files of all extensions side by side, then links each extension."""
        objects = {ext.name: self.objects(ext) for ext in self.extensions}
        commands = [
            command for ext in self.extensions for command in self.stale(ext, objects[ext.name])
        ]
        known = hasattr(os, "sched_getaffinity")  # not on macOS
        cores = len(os.sched_getaffinity(0)) if known else os.cpu_count() or 1
        with ThreadPoolExecutor(int(os.environ.get("MAX_JOBS") or max(2, cores))) as pool:
            list(pool.map(run, commands))
        for ext in self.extensions:
            self.link(ext, objects[ext.name].values())

    def objects(self, ext: Extension) -> dict[str, Path]:
        """The object of each source, without its suffix."""
        # Objects depend on neither Python nor the kind of build, so all builds share them.
        folder = OBJECTS / SANITIZE / ext.name
        return {source: folder / Path(source).relative_to("csrc") for source in ext.sources}

    def stale(self, ext: Extension, objects: dict[str, Path]) -> list[list[str]]:
        """The commands that compile what is out of date."""
        includes = ["-Icsrc", "-isystem", str(find_torch() / "include")]
        compiler, _ = self.tools(ext)
        how = [*compiler, "-std=c++20", "-O3", *SANITIZERS, *ABI]
        commands = []
        for source, place in objects.items():
            place.parent.mkdir(parents=True, exist_ok=True)
            includes_of = f"{place}.d"  # written by the compiler: what the object was made from
            if made_otherwise(place, how) or self.force or stale(f"{place}.o", includes_of):
                out = ["-MMD", "-MF", includes_of, "-c", source, "-o", f"{place}.o"]
                commands.append([*how, *includes, *out])
        return commands

    def link(self, ext: Extension, places: Iterable[Path]) -> None:
        torch = find_torch()
        libraries = [f"-L{torch / 'lib'}", "-ltorch", "-ltorch_cpu", "-lc10"]
        _, linker = self.tools(ext)
        target = Path(self.get_ext_fullpath(ext.name))
        target.parent.mkdir(parents=True, exist_ok=True)
        linked = [f"{place}.o" for place in places]
        flags = shlex.split(os.environ.get("LDFLAGS", ""))
        run([*linker, "-shared", "-o", str(target), *linked, *libraries, *flags])

    def tools(self, ext: Extension) -> tuple[list[str], list[str]]:
        """The compiler and the linker of an extension."""
        if ext.name == "gtnet._cuda":
            return self.cuda()
        compiler, linker = self.cpu()
        return [*compiler, *EMULATIONS.get(ext.name, [])], linker

    def cpu(self) -> tuple[list[str], list[str]]:
        cxx, flags = find_cxx(), shlex.split(os.environ.get("CXXFLAGS", ""))
        processor, system = target()
        werror = WERRORS["cxx"] if WERROR else []
        compiler = [*cxx, *HOST, *MATH, *PROCESSOR.get(processor, []), *werror, *flags]
        return compiler, [*cxx, *LINK[system], *SANITIZERS]

    def cuda(self) -> tuple[list[str], list[str]]:
        found = find_nvcc()
        if found is None:
            raise PlatformError(
                "GTNET_CUDA=1 asks for the CUDA extension and no nvcc was found: "
                "install the CUDA toolkit, or name its folder in CUDA_HOME."
            )
        nvcc = [found, "-ccbin", find_cxx()[0]]
        gpus = [f"-gencode={gpu}" for gpu in GPUS]
        werror = WERRORS["nvcc"] if WERROR else []
        compiler = [*nvcc, "-DUSE_CUDA", *gpus, *werror, f"-Xcompiler={','.join(HOST + MATH)}"]
        # Its own hidden copy of the runtime: the file loads beside a torch of another CUDA.
        return compiler, [*nvcc, "-cudart=static", "-Xlinker=--no-as-needed,--exclude-libs,ALL"]


def extension(name: str, pattern: str) -> Extension:
    # The longest files first, so that no core waits for one that was begun last.
    sources = sorted(Path("csrc/ops").glob(pattern), key=lambda path: (-path.stat().st_size, path))
    return Extension(name, [str(path) for path in sources], py_limited_api=True)


extensions = [extension("gtnet._cpu", "cpu/*.cpp")]
if os.environ.get("GTNET_EMULATED") != "0":
    way = "fibers" if os.environ.get("GTNET_EMULATED") == "fibers" else "emulated"
    extensions.append(extension(f"gtnet._{way}", "emulated/*.cpp"))
if not SANITIZE and (CUDA == "1" or (CUDA != "0" and find_nvcc() and has_cuda_torch())):
    extensions.append(extension("gtnet._cuda", "cuda/*.cu"))
setup(
    ext_modules=extensions,
    cmdclass={"build_ext": Build},
    options={"bdist_wheel": {"py_limited_api": "cp310"}},
)
