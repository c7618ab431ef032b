"""Changes of writing that keep what it says: images, batches of segments and of lines."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional


def distort(image: np.ndarray, rng: np.random.Generator, strength: float = 1.0) -> np.ndarray:
    """A line of writing as another hand, pen and scanner might have made it.

    Slant, turn, stretch, smooth elastic bending, contrast and grain; `image` uint8
    [height, width], dark on light; `strength` 1 slants by about 10 degrees, 0 changes nothing.
    """
    height, width = image.shape
    slant, turn = rng.normal(0, 0.15 * strength), rng.normal(0, 0.025 * strength)
    stretch = math.exp(rng.normal(0, 0.1 * strength))
    out_width = max(8, round(width * stretch))
    y, x = np.mgrid[0:height, 0:out_width].astype(np.float32)
    y -= (height - 1) / 2
    x -= (out_width - 1) / 2
    bend = [
        ndimage.gaussian_filter(rng.normal(size=(height, out_width)), 0.15 * height, truncate=2)
        for _ in range(2)
    ]
    bend = [0.035 * strength * height * b / max(float(b.std()), 1e-6) for b in bend]
    from_x = x / stretch + slant * y + bend[0] + (width - 1) / 2
    from_y = y + turn * x + bend[1] + (height - 1) / 2
    warped = ndimage.map_coordinates(
        image.astype(np.float32), [from_y, from_x], order=1, mode="nearest"
    )
    contrast = math.exp(rng.normal(0, 0.2 * strength))
    paper = float(np.percentile(warped, 80))
    warped = paper + (warped - paper) * contrast + rng.normal(0, 4 * strength)
    warped += rng.normal(0, 3 * strength, warped.shape)
    return np.clip(warped, 0, 255).astype(np.uint8)


def jitter(images: Tensor, strength: float, generator: torch.Generator | None = None) -> Tensor:
    """Every segment image under a small random affine map of its own.

    `images` float [segments, channels, height, width]; `strength` 1 slants by about 10 degrees
    and scales by about 10%. Returns images of the same shape.
    """
    random = torch.randn(len(images), 6, generator=generator, device=images.device)
    random = random * strength * torch.tensor([0.1, 0.15, 0.06, 0.05, 0.1, 0.06]).to(images)
    scale_x, slant, move_x, turn, scale_y, move_y = random.unbind(1)
    rows = [torch.stack([scale_x.exp(), slant, move_x], 1)]
    rows.append(torch.stack([turn, scale_y.exp(), move_y], 1))
    grid = functional.affine_grid(torch.stack(rows, 1), list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, align_corners=False)


def distort_lines(
    lines: Tensor, widths: Tensor, strength: float, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """A batch of lines as other hands, pens and scanners might have made them, each in its way.

    Slant, turn, stretch, size, smooth elastic bending; then thicker or thinner strokes, contrast,
    printed rules and grain. `lines` float [batch, 1, height, width], ink 1 on paper 0; `widths`
    int64 [batch]; `strength` 1 slants by about 10 degrees. Returns lines and widths, multiples of
    4; the batch may grow wider.
    """
    batch, _, height, _ = lines.shape

    def normal(*shape: int) -> Tensor:
        return torch.randn(batch, *shape, generator=generator) * strength

    def uniform(*shape: int) -> Tensor:
        return torch.rand(batch, *shape, generator=generator)

    stretch, slant = (0.13 * normal()).clamp(-0.5, 0.5).exp(), 0.18 * normal()
    turn, size, move = 0.02 * normal(), (0.09 * normal()).exp(), 0.03 * height * normal()
    new_widths, out_width = _widths(widths, stretch, slant, height)
    bend = normal(2, 4, max(3, out_width // 16)) * 0.045 * height
    bend = functional.interpolate(
        bend, size=(height, out_width), mode="bicubic", align_corners=True
    )
    warped = _warped(lines, widths, new_widths, (stretch, slant, turn, size, move), bend)
    return _penned(warped, normal, uniform, strength), new_widths


@dataclass(frozen=True)
class Look:
    """One way to see a line again, always the same, for a reader that is unsure.

    `stretch` of its width and `size` of its height, factors; `slant`, columns a row; `pen`: above
    0 the share of strokes a pixel thicker on each side, below 0 of thinner ones.
    """

    stretch: float = 1.0
    slant: float = 0.0
    size: float = 1.0
    pen: float = 0.0

    def __call__(self, lines: Tensor, widths: Tensor) -> tuple[Tensor, Tensor]:
        """Lines float [batch, 1, height, width] and their widths, seen in this way."""
        height = lines.shape[2]
        stretch, slant, size = (
            torch.full(widths.shape, v) for v in (self.stretch, self.slant, self.size)
        )
        none = torch.zeros(len(widths))
        new_widths, out_width = _widths(widths, stretch, slant, height)
        bend = torch.zeros(len(widths), 2, height, out_width)
        seen = _warped(lines, widths, new_widths, (stretch, slant, none, size, none), bend)
        sign = 1.0 if self.pen > 0 else -1.0
        other = sign * functional.max_pool2d(sign * seen, 3, 1, 1)
        return seen.lerp(other, abs(self.pen)), new_widths


LOOKS = (
    Look(0.93, 0.1, 0.95, 0.3),
    Look(1.07, -0.1, 0.95, -0.3),
    Look(1.07, 0.1, 1.05, 0.3),
    Look(0.93, -0.1, 1.05, -0.3),
)
"""Four looks, each change in two of them one way and in two the other."""


def _widths(widths: Tensor, stretch: Tensor, slant: Tensor, height: int) -> tuple[Tensor, int]:
    """The widths of lines after a change, multiples of 4, and that of their batch."""
    changed = (widths * stretch + 0.5 * height * slant.abs()).long() // 4 * 4 + 4
    return changed, -(-int(changed.max()) // 32) * 32


def _warped(
    lines: Tensor, widths: Tensor, new_widths: Tensor, by: tuple[Tensor, ...], bend: Tensor
) -> Tensor:
    """Lines under (stretch, slant, turn, size, move), [batch] each, and a displacement."""
    stretch, slant, turn, size, move = (values[:, None, None] for values in by)
    height, out_width = bend.shape[2:]
    y = torch.arange(height).float()[None, :, None] - (height - 1) / 2
    x = torch.arange(out_width).float()[None, None, :] - (new_widths[:, None, None] - 1) / 2
    from_x = x / stretch + slant * y + bend[:, 0] + (widths[:, None, None] - 1) / 2
    from_y = y / size + turn * x + move + bend[:, 1] + (height - 1) / 2
    scale = torch.tensor([2 / lines.shape[3], 2 / height])
    grid = (torch.stack([from_x, from_y], 3) + 0.5) * scale - 1
    return functional.grid_sample(lines, grid, align_corners=False)


def _penned(
    lines: Tensor,
    normal: Callable[..., Tensor],
    uniform: Callable[..., Tensor],
    strength: float,
) -> Tensor:
    """Lines with another pen, ink and paper."""
    share = (uniform(1, 1, 1) - 0.5) * min(1.0, 1.3 * strength)
    thick = functional.max_pool2d(lines, 3, 1, 1)
    thin = -functional.max_pool2d(-lines, 3, 1, 1)
    lines = torch.where(share > 0, lines.lerp(thick, share), lines.lerp(thin, -0.8 * share))
    lines = lines.clamp(min=1e-4) ** (0.35 * normal(1, 1, 1)).exp()
    lines = lines * (1 - 0.2 * strength * uniform(1, 1, 1)).clamp(min=0.1)
    ruled = (uniform(1, lines.shape[2], 1) < 0.012) * 0.5 * uniform(1, lines.shape[2], 1)
    lines = torch.maximum(lines, ruled * min(1.0, strength))
    grain = 0.04 * normal(1, 1, 1).abs() * torch.randn(lines.shape)
    return (lines + grain).clamp(0, 1)
