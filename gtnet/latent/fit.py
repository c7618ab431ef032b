"""Training of a model without labels: the mean of its loss over batches of signals."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn


def fit(
    model: nn.Module,
    signals: Tensor | Sequence[Tensor],
    *,
    epochs: int = 10,
    batch_size: int = 128,
    rate: float = 3e-3,
    seed: int = 0,
    tell: Callable[[int, float], None] | None = None,
) -> list[float]:
    """Lower `model.loss` of signals [items, ...] by Adam; returns the mean loss of each epoch.

    `signals`: one tensor, or several that belong together item by item and that `loss` takes side
    by side (as `LISTA.loss` takes signals and their codes). The rate falls to 0 as a cosine.
    The same seed gives the same model. `tell(epoch, loss)` is called after each epoch.
    Raises ValueError for no items, or when training goes astray.
    """
    together = [signals] if isinstance(signals, Tensor) else list(signals)
    size = len(together[0])
    if not size or any(len(part) != size for part in together):
        raise ValueError(f"fit: signals have {[len(part) for part in together]} items")
    loss_of: Callable[..., Tensor] = model.loss  # type: ignore[assignment]
    weights = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(weights, lr=rate)
    steps = epochs * -(-size // batch_size)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(1, steps))
    losses: list[float] = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for epoch in range(epochs):
            sum_of = 0.0
            for chosen in torch.randperm(size).split(batch_size):
                loss = loss_of(*(part[chosen] for part in together))
                optimizer.zero_grad()
                loss.mean().backward()
                nn.utils.clip_grad_norm_(weights, 10.0)
                optimizer.step()
                schedule.step()
                sum_of += float(loss.detach().sum())
            if sum_of != sum_of:
                raise ValueError(f"fit: training went astray in epoch {epoch + 1}; lower the rate")
            losses.append(sum_of / size)
            if tell is not None:
                tell(epoch, losses[-1])
    return losses
