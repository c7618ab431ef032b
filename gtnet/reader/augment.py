"""Random changes of writing that keep its meaning: of whole images, and of batches of segments."""

from __future__ import annotations

import math

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
