"""The front end of sound: the spectrum of a recording, moment by moment, to frames."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

import gtnet
from gtnet.reader.alphabet import Alphabet
from gtnet.reader.configured import Configured
from gtnet.reader.languages import lasting
from gtnet.reader.line_front_end import convolution
from gtnet.reader.sequence import SequenceConfig, SequenceNetwork, padded


@dataclass(frozen=True)
class Recording:
    """Sound: `samples` [samples], whole numbers or floats of any scale, `rate` of them a second."""

    samples: np.ndarray
    rate: int


@dataclass(frozen=True)
class SoundConfig:
    """How recordings become spectra, and the size of the network over them.

    `window`, `hop`: seconds that a spectrum sees, and between two of them; `mels`: bands, equally
    wide in mel between `lowest` and `highest` Hz; `floor`: energy that counts as silence, as a
    share of the recording's mean; `maps`: feature maps of the convolutions over time and bands,
    each of which halves the bands and, the first two, the steps; none: the network over time sees
    the bands themselves; `lasts`: frames that a character takes at least.
    """

    window: float = 0.032
    hop: float = 0.01
    mels: int = 32
    lowest: float = 80.0
    highest: float = 3800.0
    floor: float = 1e-3
    maps: tuple[int, ...] = (16, 24, 32)
    lasts: int = 1
    network: SequenceConfig = field(
        default_factory=lambda: SequenceConfig((96, 96), (5, 5), (1, 1), context=64)
    )


@dataclass(frozen=True)
class Spectrum:
    """Log energies of a recording: `energies` float32 [steps, mels], mean 0 in every band."""

    energies: np.ndarray

    def __len__(self) -> int:
        """Steps."""
        return len(self.energies)


def spectrum_of(recording: Recording, config: SoundConfig | None = None) -> Spectrum:
    """The log-mel energies of a recording, whatever its loudness; silence alone has no step.

    Bands are given in Hz and steps in seconds, so that recordings of several rates look alike.
    Raises TypeError or ValueError for what is no recording, or one of too low a rate for the bands.
    Complexity: linear in the samples but for the logarithm of the window.
    """
    config = config or SoundConfig()
    samples = torch.from_numpy(_checked(recording, config).astype(np.float32))
    window, hop = (round(seconds * recording.rate) for seconds in (config.window, config.hop))
    if not len(samples) or bool((samples == samples[0]).all()):
        return Spectrum(np.zeros((0, config.mels), np.float32))
    samples = samples - samples.mean()
    samples = functional.pad(samples, (window // 2, window))
    shape = {"n_fft": window, "hop_length": hop, "window": torch.hann_window(window)}
    power = torch.stft(samples, center=False, return_complex=True, **shape).abs() ** 2  # type: ignore
    energies = mel_filters(recording.rate, window, config) @ power
    logs = (energies + config.floor * energies.mean()).log().T
    logs = logs - logs.mean(0)
    return Spectrum((logs / logs.std().clamp(min=1e-6)).numpy())


def _checked(recording: Recording, config: SoundConfig) -> np.ndarray:
    if not isinstance(recording, Recording):
        raise TypeError(f"spectrum_of: expected a Recording, got {type(recording).__name__}")
    samples = np.asarray(recording.samples)
    if samples.ndim != 1 or samples.dtype.kind not in "fiu":
        raise TypeError(
            "spectrum_of: samples must be an array of numbers [samples], got"
            f" {samples.dtype} {list(samples.shape)}"
        )
    if not np.isfinite(samples).all():
        raise ValueError("spectrum_of: a sample is not finite")
    if recording.rate < 2 * config.highest:
        raise ValueError(
            f"spectrum_of: bands up to {config.highest:g} Hz need at least {2 * config.highest:g}"
            f" samples a second, the recording has {recording.rate}; lower SoundConfig.highest"
        )
    return samples


@lru_cache(maxsize=8)
def mel_filters(rate: int, window: int, config: SoundConfig) -> Tensor:
    """Triangles over the frequencies of a spectrum, equally wide in mel: [mels, frequencies].

    Source: Davis & Mermelstein 1980.
    """
    ends = [2595 * math.log10(1 + hertz / 700) for hertz in (config.lowest, config.highest)]
    mels = torch.linspace(ends[0], ends[1], config.mels + 2, dtype=torch.float64)
    corners = (700 * (10 ** (mels / 2595) - 1))[:, None]
    frequencies = torch.linspace(0, rate / 2, window // 2 + 1, dtype=torch.float64)
    width = corners.diff(dim=0)
    up, down = (frequencies - corners)[:-2] / width[:-1], (corners - frequencies)[2:] / width[1:]
    return up.minimum(down).clamp(min=0).float()


def distort_spectra(
    energies: Tensor, lengths: Tensor, strength: float, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """A batch of spectra as other voices in other rooms might have made them, each in its way.

    Speed and pitch, the balance of low and high, noise, and a band and a moment that are masked.
    `energies` float [batch, steps, mels]; `strength` 1 changes speed and pitch by some 10%.
    Returns spectra and lengths; the batch may grow longer.
    Source: Jaitly & Hinton 2013 (warped frequencies); Park et al. 2019 (masks).
    """
    batch, _, mels = energies.shape

    def normal(*shape: int) -> Tensor:
        return torch.randn(batch, *shape, generator=generator) * strength

    slower = (0.13 * normal()).clamp(-0.5, 0.5).exp()
    warped, new = _warped(energies, lengths, slower, (0.09 * normal()).exp(), 0.06 * normal())
    out, at = warped.shape[1], _bands(mels)
    tilt = 0.25 * normal(1, 1) * at + 0.15 * normal(1, 1) * (3 * at**2 - 1)
    noise = 0.15 * normal(1, 1).abs() * torch.randn(warped.shape, generator=generator)
    warped = warped + tilt + noise
    for axis, (size, most) in enumerate(((out, 8 * strength), (mels, 0.2 * strength * mels)), 1):
        wide = torch.rand(batch, generator=generator) * most
        first = torch.rand(batch, generator=generator) * ((new if axis == 1 else size) - wide)
        place = torch.arange(size)[None]
        masked = (place >= first[:, None]) & (place < (first + wide)[:, None])
        warped = warped.masked_fill(masked[:, :, None] if axis == 1 else masked[:, None], 0.0)
    inside = torch.arange(out)[None] < new[:, None]
    return warped * inside[:, :, None], new


def _bands(mels: int) -> Tensor:
    """The middles of the bands, from -1 to 1."""
    return (torch.arange(mels) + 0.5) / mels * 2 - 1


def _warped(
    energies: Tensor, lengths: Tensor, slower: Tensor, scale: Tensor, shift: Tensor
) -> tuple[Tensor, Tensor]:
    """Spectra that take `slower` times as long, their bands scaled and shifted; all [batch]."""
    batch, steps, mels = energies.shape
    new = (lengths * slower).long().clamp(min=1)
    out = -(-int(new.max()) // 16) * 16
    step = torch.arange(out)[None, :] * (lengths / new)[:, None]
    band = _bands(mels) * scale[:, None] + shift[:, None]
    grid = torch.stack(
        [
            band[:, None, :].expand(batch, out, mels),
            ((step + 0.5) / steps * 2 - 1)[:, :, None].expand(batch, out, mels),
        ],
        dim=3,
    )
    warped = functional.grid_sample(
        energies[:, None], grid.to(energies), padding_mode="border", align_corners=False
    )
    return warped[:, 0], new


@dataclass(frozen=True)
class Listening:
    """One way to hear a recording again: `slower` and with other `scale` and `shift` of bands."""

    slower: float
    scale: float
    shift: float

    def __call__(self, energies: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """A batch of spectra and their lengths, heard that way."""
        by = (torch.full((len(lengths),), x) for x in (self.slower, self.scale, self.shift))
        warped, new = _warped(energies, lengths, *by)
        inside = torch.arange(warped.shape[1])[None] < new[:, None]
        return warped * inside[:, :, None], new


LISTENINGS = (
    Listening(0.9, 0.95, 0.06),
    Listening(1.1, 1.05, -0.06),
    Listening(1.1, 0.95, -0.06),
    Listening(0.9, 1.05, 0.06),
)
"""Four ways to listen again, each change in two of them one way and in two the other."""


class SoundNetwork(nn.Module):
    """Convolutions over time and bands, then a network over time, that score labels of frames.

    As the first ones see bands beside each other, a voice whose bands lie higher looks alike.
    `forward(energies, lengths)`: energies float [batch, steps, mels], lengths int64 [batch].
    Returns what a `SequenceNetwork` does. Raises ValueError for too few bands to halve so often.
    Source: Abdel-Hamid, Mohamed, Jiang & Penn 2012 (convolution over frequency).
    """

    def __init__(self, num_labels: int, config: SoundConfig) -> None:
        super().__init__()
        bands, before = config.mels, 1
        self.strides = [2 if number < 2 else 1 for number in range(len(config.maps))]
        layers = []
        for after, stride in zip(config.maps, self.strides, strict=True):
            if bands < 2:
                raise ValueError(
                    f"SoundNetwork: {config.mels} bands cannot be halved {len(config.maps)} times"
                )
            layers.append(convolution(before, after, 3, stride=(stride, 2)))
            bands, before = (bands + 1) // 2, after
        self.maps = nn.ModuleList(layers).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.over_time = SequenceNetwork(num_labels, before * bands, config.network)

    def forward(self, energies: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        maps, steps = energies[:, None].to(memory_format=torch.channels_last), lengths
        for layer, stride in zip(self.maps, self.strides, strict=True):
            maps = layer(maps)
            steps = (steps + stride - 1) // stride
            # What lies behind a short item must look as it does where no other is longer.
            inside = torch.arange(maps.shape[2], device=maps.device) < steps[:, None]
            maps = maps * inside[:, None, :, None]
        return self.over_time(maps.transpose(1, 2).flatten(2), steps)


Change = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""A random change of a batch of spectra and their lengths, as `distort_spectra`."""


class SoundFrontEnd(Configured[SoundConfig]):
    """Recordings to frames: a `FrontEnd` whose recognition graphs are chains of frames.

    An input is a `Recording`.
    """

    name = "sound"
    kind = SoundConfig
    looks: Sequence[Any] = LISTENINGS

    def observe(self, recording: Recording) -> Spectrum:
        """The spectrum of a recording."""
        return spectrum_of(recording, self.config)

    def network(self, alphabet: Alphabet) -> SoundNetwork:
        """A network that scores the labels of an alphabet for every frame."""
        return SoundNetwork(alphabet.num_labels, self.config)

    def characters(self, alphabet: Alphabet) -> gtnet.Graph:
        """The transducer from frames to characters: runs of frames, blanks between or not."""
        return lasting(alphabet, self.config.lasts)

    def recognition(
        self, network: nn.Module, spectra: Sequence[Spectrum], change: Change | None = None
    ) -> gtnet.Emissions:
        """The batch of recognition graphs: a chain of frames for each spectrum."""
        energies, lengths = padded([spectrum.energies for spectrum in spectra])
        if change is not None:
            energies, lengths = change(energies, lengths)
        weights = next(network.parameters(), energies)
        scores, frames = network(energies.to(weights), lengths.to(weights.device))
        return gtnet.Emissions(scores, frames)

    def change(self, strength: float) -> Change | None:
        """Another voice and room for each recording; None at strength 0."""
        return partial(distort_spectra, strength=strength) if strength else None
