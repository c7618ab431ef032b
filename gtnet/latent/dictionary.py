"""Dictionaries: what a code stands for is a sum of atoms, at one place or at every place."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

_FORWARD: dict[int, Any] = {3: functional.conv1d, 4: functional.conv2d, 5: functional.conv3d}
_TRANSPOSED: dict[int, Any] = {
    3: functional.conv_transpose1d,
    4: functional.conv_transpose2d,
    5: functional.conv_transpose3d,
}
_GRID = 8  # frequencies per tap at which the norm of a convolution is measured


class Synthesis:
    """The linear map D from codes to signals, its transpose, and its norm.

    `atoms`: [features, atoms] for codes [batch, atoms] and signals [batch, features]; or
    [atoms, channels, *sizes], for codes [batch, atoms, *places] and signals
    [batch, channels, *extent]: the transposed convolution with that stride and padding.
    Raises ValueError, in the name of `function`, for other shapes and types.
    """

    def __init__(self, function: str, atoms: Tensor, stride: int, padding: int) -> None:
        if not atoms.is_floating_point() or atoms.dtype not in (torch.float32, torch.float64):
            raise ValueError(f"{function}: atoms are float32 or float64, got {atoms.dtype}")
        if atoms.dim() not in (2, *_FORWARD) or not atoms.numel():
            raise ValueError(
                f"{function}: a dictionary is [features, atoms], or [atoms, channels, *sizes] for"
                f" convolutions in 1 to 3 dimensions, got {list(atoms.shape)}"
            )
        self.dense = atoms.dim() == 2
        if stride < 1 or padding < 0 or (self.dense and (stride, padding) != (1, 0)):
            raise ValueError(
                f"{function}: stride {stride} and padding {padding} are none of this dictionary"
            )
        self.function, self.atoms, self.stride, self.padding = function, atoms, stride, padding
        self.extent: tuple[int, ...] = ()

    def check(self, y: Tensor) -> None:
        """Raises ValueError for signals that D does not reach; remembers how large they are."""
        atoms = self.atoms
        channels = atoms.shape[0] if self.dense else atoms.shape[1]
        if y.dim() != atoms.dim() or y.shape[1] != channels:
            raise ValueError(
                f"{self.function}: y has shape {list(y.shape)}, the dictionary {list(atoms.shape)}"
            )
        if y.dtype != atoms.dtype or y.device != atoms.device:
            raise ValueError(
                f"{self.function}: y is {y.dtype} on {y.device}, the dictionary {atoms.dtype} on"
                f" {atoms.device}"
            )
        self.extent = tuple(y.shape[2:])
        if any(e + 2 * self.padding < k for e, k in zip(self.extent, atoms.shape[2:])):
            raise ValueError(
                f"{self.function}: y is {list(self.extent)} large, smaller than an atom,"
                f" {list(atoms.shape[2:])}"
            )

    def codes(self, batch: int) -> tuple[int, ...]:
        """The shape of the codes of a batch of checked signals."""
        if self.dense:
            return (batch, self.atoms.shape[1])
        places = [
            (e + 2 * self.padding - k) // self.stride + 1
            for e, k in zip(self.extent, self.atoms.shape[2:])
        ]
        return (batch, self.atoms.shape[0], *places)

    def apply(self, z: Tensor) -> Tensor:
        """D z, as large as the checked signals."""
        if self.dense:
            return z @ self.atoms.T
        sizes = self.atoms.shape[2:]
        # What a stride passes over at the far end is nobody's place, and 0.
        over = [(e + 2 * self.padding - k) % self.stride for e, k in zip(self.extent, sizes)]
        return _TRANSPOSED[self.atoms.dim()](
            z, self.atoms, stride=self.stride, padding=self.padding, output_padding=over
        )

    def transpose(self, y: Tensor) -> Tensor:
        """Dᵀ y: how well each atom fits at each place."""
        if self.dense:
            return y @ self.atoms
        return _FORWARD[self.atoms.dim()](y, self.atoms, stride=self.stride, padding=self.padding)

    def norm(self) -> Tensor:
        """‖D‖², or a little more: the greatest curvature of ½‖y - D z‖².

        Of a convolution over all frequencies: the greatest on a grid, divided by how much a
        trigonometric polynomial may rise between two points of it.
        """
        if self.dense:
            flat = self.atoms if len(self.atoms) < self.atoms.shape[1] else self.atoms.T
            return torch.linalg.eigvalsh(flat @ flat.T)[-1]
        phases = _phases(self.atoms, self.stride)
        sizes = phases.shape[2:]
        grid = [_GRID * k if k > 1 else 1 for k in sizes]
        rise = math.prod(math.cos(math.pi * (k - 1) / n) for k, n in zip(sizes, grid))
        dims = [*range(2, phases.dim())]
        spectrum = torch.fft.rfftn(phases, grid, dims).movedim((0, 1), (-2, -1)).flatten(0, -3)
        small = spectrum if spectrum.shape[-2] < spectrum.shape[-1] else spectrum.mT
        gram = small @ small.mH
        return torch.linalg.eigvalsh(gram)[:, -1].amax() / rise


def _phases(atoms: Tensor, stride: int) -> Tensor:
    """A dictionary with a stride as one without: the pixels between two places become channels."""
    if stride == 1:
        return atoms
    for dim in range(2, atoms.dim()):
        missing = -atoms.shape[dim] % stride
        blank = [*atoms.shape]
        blank[dim] = missing
        atoms = torch.cat([atoms, atoms.new_zeros(blank)], dim)
        atoms = atoms.unflatten(dim, (-1, stride)).movedim(dim + 1, 2).flatten(1, 2)
    return atoms


def decode(
    z: Tensor,
    dictionary: Tensor,
    *,
    stride: int = 1,
    padding: int = 0,
    extent: Sequence[int] | None = None,
) -> Tensor:
    """D z: the signals that codes stand for under a dictionary.

    Arguments as in `sparse_code`: codes [..., atoms], or [batch, atoms, *places]. `extent`: how
    large the signals are, where a stride leaves that open; by default the smallest.
    Gradient: to both. Complexity: a matrix product, or a convolution.
    """
    synthesis = Synthesis("decode", dictionary, stride, padding)
    if synthesis.dense:
        if z.shape[-1] != dictionary.shape[1]:
            raise ValueError(f"decode: codes {list(z.shape)} for {dictionary.shape[1]} atoms")
        return synthesis.apply(z)
    if z.dim() != dictionary.dim() or z.shape[1] != dictionary.shape[0]:
        raise ValueError(f"decode: codes {list(z.shape)} for a dictionary {list(dictionary.shape)}")
    sizes = dictionary.shape[2:]
    least = [(n - 1) * stride + k - 2 * padding for n, k in zip(z.shape[2:], sizes)]
    synthesis.extent = tuple(least if extent is None else extent)
    if synthesis.codes(len(z)) != tuple(z.shape):
        raise ValueError(
            f"decode: codes {list(z.shape)} are not those of signals {list(synthesis.extent)} large"
        )
    return synthesis.apply(z)


class Dictionary(nn.Module):
    """Atoms of length 1 that are learnt: whatever an optimizer does to `weight`, `atoms` are unit.

    Arguments: `shape`, [features, atoms] or [atoms, channels, *sizes], see `sparse_code`, and the
    stride and padding of a convolutional one. Atoms begin as random directions.
    `forward(z)` decodes codes. Source: Olshausen & Field 1997, where lengths are held too.
    """

    def __init__(
        self,
        *shape: int,
        stride: int = 1,
        padding: int = 0,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(*shape, dtype=dtype))
        self.stride, self.padding = stride, padding
        Synthesis("Dictionary", self.weight.detach(), stride, padding)
        with torch.no_grad():
            self.weight.copy_(self.atoms)  # so that a rate of learning means the same for any size

    @property
    def atoms(self) -> Tensor:
        """The atoms, each of length 1, in the shape of the dictionary."""
        dims = [0] if self.weight.dim() == 2 else [*range(1, self.weight.dim())]
        lengths = torch.linalg.vector_norm(self.weight, dim=dims, keepdim=True)
        return self.weight / lengths.clamp(min=torch.finfo(self.weight.dtype).tiny)

    @property
    def num_atoms(self) -> int:
        """How many atoms there are."""
        return self.weight.shape[1 if self.weight.dim() == 2 else 0]

    def forward(self, z: Tensor, extent: Sequence[int] | None = None) -> Tensor:
        return decode(z, self.atoms, stride=self.stride, padding=self.padding, extent=extent)


def dead_atoms(codes: Tensor) -> Tensor:
    """The atoms that no code of a batch uses, int64 indices; codes [batch, atoms, ...]."""
    if codes.dim() < 2:
        raise ValueError(f"dead_atoms: codes are [batch, atoms, ...], got {list(codes.shape)}")
    return (~codes.transpose(0, 1).flatten(1).ne(0).any(1)).nonzero().flatten()
