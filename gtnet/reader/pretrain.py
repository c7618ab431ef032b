"""Pre-training of a network on ink without labels: its convolutions learn to say what is drawn.

The convolutions become the encoder of a latent-variable energy of `gtnet.latent`, whose decoder
draws the ink again from a code: sparse (`psd`, predictive sparse decomposition) or noisy (`vae`).
What was learnt is then the beginning of training with labels; decoder and codes are thrown away.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from gtnet import latent
from gtnet.reader.line import Line
from gtnet.reader.line_front_end import batch_of
from gtnet.reader.recognize import SegmentNetwork
from gtnet.reader.segment import Segmentation
from gtnet.reader.sliding import STRIDE, SlidingNetwork

METHODS = ("none", "psd", "vae")
"""What training may begin with."""

_ATOMS = 192
_VALUES = 32
_WINDOW = 24  # columns of a line that one code draws
_STROKES = 96  # atoms of a line, each at every place
_PIECE = 128  # columns of a line that are looked at together
_LAMBDA = 0.3
_NOISE = 0.3
_MOST = 16000  # segments that are looked at; windows: an eighth


def pretrain(
    network: nn.Module,
    observations: Sequence[Any],
    method: str,
    *,
    epochs: int = 3,
    rate: float = 2e-3,
    seed: int = 0,
    quiet: bool = True,
) -> list[float]:
    """Teach the convolutions of a network from observations that nobody labelled.

    Arguments: `network`, a `SegmentNetwork` or `SlidingNetwork`, changed in place; `observations`:
    `Segmentation`s or `Line`s, as the front end observes images; `method`: "psd", "vae", or
    "none", which does nothing; `epochs` over at most 16,000 segments, or 2,000 pieces of lines,
    drawn by `seed`.
    Returns the mean loss of each epoch. Raises ValueError for other networks, methods, and where
    no ink is seen.
    Source: Kavukcuoglu, Ranzato & LeCun 2008; Kingma & Welling 2014.
    """
    check_pretrainable(network, method)
    if method == "none":
        return []
    rng = np.random.default_rng(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if isinstance(network, SegmentNetwork):
            signals = segments_of(observations, _MOST, rng)
            model = _of_segments(network, signals, method)
        else:
            assert isinstance(network, SlidingNetwork)
            signals = windows_of(observations, _MOST // 8, rng)
            model = _of_lines(network, signals, method)
    network.train()
    with tqdm(total=epochs, desc=f"pre-training, {method}", disable=quiet, leave=False) as bar:

        def tell(epoch: int, loss: float) -> None:
            bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
            bar.update()

        return latent.fit(
            model, signals, epochs=epochs, batch_size=64, rate=rate, seed=seed, tell=tell
        )


def check_pretrainable(network: nn.Module, method: str) -> None:
    """Raises ValueError for a method that is none, or a network that none teaches."""
    if method not in METHODS:
        raise ValueError(f"pretrain: method {method!r} is not one of {', '.join(METHODS)}")
    if method != "none" and not isinstance(network, (SegmentNetwork, SlidingNetwork)):
        raise ValueError(
            f"pretrain: {type(network).__name__} is not over images: the networks of the front ends"
            " segments and sliding are"
        )


def segments_of(
    observations: Sequence[Segmentation], most: int, rng: np.random.Generator
) -> Tensor:
    """Images of segments, alone and with the ink around them: float [segments, 2, size, size]."""
    found = [np.stack([seen.images, seen.context], axis=1) for seen in observations if len(seen)]
    if not found:
        raise ValueError("pretrain: there is no ink to learn from")
    images = np.concatenate(found)
    chosen = rng.permutation(len(images))[:most]
    return torch.from_numpy(images[np.sort(chosen)])


def windows_of(observations: Sequence[Line], most: int, rng: np.random.Generator) -> Tensor:
    """Pieces of lines, float [pieces, 1, height, 128], ink 1 on paper 0."""
    width, pieces = _PIECE, []
    for line in observations:
        if not len(line):
            continue
        whole = batch_of([line])[0]
        if whole.shape[3] < width:
            whole = nn.functional.pad(whole, (0, width - whole.shape[3]))
        pieces += list(_pieces(whole, width))
    if not pieces:
        raise ValueError("pretrain: there is no ink to learn from")
    chosen = rng.permutation(len(pieces))[:most]
    return torch.cat([pieces[index] for index in np.sort(chosen)])


def _pieces(whole: Tensor, width: int) -> Iterator[Tensor]:
    for first in range(0, whole.shape[3] - width + 1, width // 2):
        yield whole[..., first : first + width]


def _of_segments(network: SegmentNetwork, signals: Tensor, method: str) -> nn.Module:
    with torch.no_grad():
        maps = network.convolutions.eval()(signals[:1]).numel()
    pixels = signals[0].numel()

    def see(out: int) -> nn.Module:
        return nn.Sequential(
            nn.Unflatten(1, tuple(signals.shape[1:])),
            network.convolutions,
            nn.Flatten(),
            nn.Linear(maps, out),
        )

    return _Flat(_model(method, see, (pixels, _ATOMS), nn.Linear(_VALUES, pixels)))


def _of_lines(network: SlidingNetwork, signals: Tensor, method: str) -> nn.Module:
    """Codes of columns: what one draws is a window of the line, of which there are many."""
    height, six = signals.shape[2], network.config.channels[-1]
    padding = (_WINDOW - STRIDE) // 2

    def see(out: int) -> nn.Module:
        return nn.Sequential(
            nn.Unflatten(1, (1, height)),
            *network.convolutions,
            nn.Flatten(2),
            nn.Conv1d(six, out, 1),
        )

    dictionary = (_STROKES, height, _WINDOW)
    draw = nn.ConvTranspose1d(_VALUES, height, _WINDOW, stride=STRIDE, padding=padding)
    return _Rows(_model(method, see, dictionary, draw, stride=STRIDE, padding=padding))


def _model(
    method: str,
    see: Callable[[int], nn.Module],
    dictionary: tuple[int, ...],
    draw: nn.Module,
    *,
    stride: int = 1,
    padding: int = 0,
) -> nn.Module:
    """The energy whose encoder sees, and whose decoder draws."""
    if method == "psd":
        atoms = latent.Dictionary(*dictionary, stride=stride, padding=padding)
        encoder = latent.PredictiveEncoder(see(atoms.num_atoms), atoms.num_atoms)
        return latent.SparseCoding(atoms, _LAMBDA, encoder=encoder, iterations=20, tol=1e-2)
    return latent.VAE(see(2 * _VALUES), draw, noise=_NOISE)


class _Flat(nn.Module):
    """A model of vectors that is given images."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def loss(self, images: Tensor) -> Tensor:
        return self.model.loss(images.flatten(1))  # type: ignore[operator]


class _Rows(_Flat):
    """A model of sequences, whose channels are the rows of lines."""

    def loss(self, images: Tensor) -> Tensor:
        return self.model.loss(images[:, 0])  # type: ignore[operator]
