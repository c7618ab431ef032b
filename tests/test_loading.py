"""An extension that is missing or does not load beside torch: one error that says what to do."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from gtnet._ops import library


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty package in the place of gtnet."""
    monkeypatch.setattr(library, "__file__", str(tmp_path / "_ops" / "library.py"))
    return tmp_path


def test_an_extension_that_was_not_built(package: Path) -> None:
    with pytest.raises(ImportError, match=r"_cpu.abi3.so is missing.*pip install"):
        library._load()


def test_an_extension_that_does_not_load(package: Path) -> None:
    (package / "_cpu.abi3.so").write_text("for another processor")
    with pytest.raises(ImportError, match=r"does not load beside torch .*2\.10 or newer"):
        library._load()


def test_another_cuda(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = next(path for path in torch.ops.loaded_libraries if path.endswith("_cpu.abi3.so"))
    (package / "_cpu.abi3.so").symlink_to(ours)
    (package / "_cuda.abi3.so").write_text("for another CUDA")
    monkeypatch.setattr(torch.version, "cuda", None)
    assert not library._load()  # of no use beside a torch for CPUs
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    with pytest.raises(ImportError, match=r"its CUDA is 12\.8.*GTNET_CUDA=1 pip install"):
        library._load()
