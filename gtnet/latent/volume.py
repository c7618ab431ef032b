"""Free energies of continuous codes: the log of an integral, by Laplace or by weighted samples."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gtnet.latent.descent import Energy, hessian_of

_FREEDOM = 5.0  # of Student's t: tails that are heavier than those of any energy that grows


def laplace(energy: Energy, z: Tensor, beta: Tensor) -> Tensor:
    """-1/β log ∫ exp(-β E(z)) dz if E were the parabola that touches it at its minimum z, [batch].

    Gradient: to all that the energy depends on, along the minimum as it moves.
    Raises ValueError where E is not curved upward in all directions.
    """
    curved = hessian_of(energy, z)
    root, failed = torch.linalg.cholesky_ex(curved)
    if bool(failed.any()):
        raise ValueError(
            "free_energy: the energy is flat around the code of item"
            f" {int(failed.nonzero()[0])}, so that Laplace's volume has no end; descend further"
            " (tol), or take method='importance'"
        )
    if torch.is_grad_enabled():
        # One step of Newton's method, 0 long, along which the minimum follows its parameters.
        at = z.detach().requires_grad_()
        (force,) = torch.autograd.grad(energy(at).sum(), at, create_graph=True)
        move = torch.cholesky_solve(force.flatten(1)[:, :, None], root)
        moving = at - move.reshape(z.shape)
        curved = hessian_of(energy, moving, differentiable=True)
        volume = torch.linalg.slogdet(curved).logabsdet
    else:
        volume = 2 * root.diagonal(dim1=1, dim2=2).log().sum(1)
    values = z[0].numel()
    return energy(z.detach()) + (volume + values * (beta / (2 * math.pi)).log()) / (2 * beta)


def importance(
    energy: Energy,
    smooth: Energy,
    z: Tensor,
    beta: Tensor,
    corner: float,
    samples: int,
    generator: torch.Generator | None,
) -> Tensor:
    """-1/β log of the mean of exp(-β E(z)) / q(z) over draws from q around the minimum z, [batch].

    q is Student's t with the curvature of the smooth part and that of corners, β² `corner`².
    """
    batch, values = len(z), z[0].numel()
    precision = beta.reshape(-1, 1, 1) * hessian_of(smooth, z)
    ones = torch.eye(values, dtype=z.dtype, device=z.device)
    precision = precision + (beta * corner).square().reshape(-1, 1, 1) * ones
    # Where it is flat or curved downward, as wide as a unit Gaussian.
    lengths, axes = torch.linalg.eigh(precision)
    lengths = torch.where(lengths > 1e-3 * lengths[:, -1:].clamp(min=1e-6), lengths, 1.0)
    normal = torch.randn(
        samples, batch, values, dtype=z.dtype, device=z.device, generator=generator
    )
    squares = torch.randn(
        samples, batch, int(_FREEDOM), dtype=z.dtype, device=z.device, generator=generator
    )
    spread = (_FREEDOM / squares.square().sum(2, keepdim=True)).sqrt()
    scaled = normal * spread
    moves = torch.einsum("bij,sbj->sbi", axes, scaled / lengths.sqrt())
    drawn = z.detach() + moves.reshape(samples, *z.shape)
    log_q = (
        math.lgamma((_FREEDOM + values) / 2)
        - math.lgamma(_FREEDOM / 2)
        - values / 2 * math.log(_FREEDOM * math.pi)
        + lengths.log().sum(1) / 2
        - (_FREEDOM + values) / 2 * torch.log1p(scaled.square().sum(2) / _FREEDOM)
    )
    energies = torch.stack([energy(codes) for codes in drawn])
    weights = -beta * energies - log_q
    return -(weights.logsumexp(0) - math.log(samples)) / beta
