"""The check reader: a recognizer of amounts, as a preset with a configuration that is saved."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from torch import Tensor

import gtnet
from gtnet.reader import amounts
from gtnet.reader.alphabet import AMOUNTS
from gtnet.reader.answers import Answer as Answer
from gtnet.reader.answers import rejection_threshold as rejection_threshold
from gtnet.reader.front_end import FrontEnd, SegmentsFrontEnd
from gtnet.reader.pen import PenConfig, PenFrontEnd
from gtnet.reader.recognize import NetworkConfig, segment_scores
from gtnet.reader.recognizer import Recognizer
from gtnet.reader.segment import Segmentation, SegmentConfig
from gtnet.reader.segmental import SegmentalConfig, SegmentalFrontEnd
from gtnet.reader.sliding import SlidingConfig, SlidingFrontEnd
from gtnet.reader.sound import SoundConfig, SoundFrontEnd


@dataclass(frozen=True)
class ReaderConfig:
    """What a `CheckReader` is made of; together with its weights it is the whole reader.

    `grammar`: a name in `amounts.GRAMMARS`; `front_end`: a name in `PRESETS`; `candidates`:
    answers that are compared by their total score; `temperature`: of confidences. For "segments":
    `rubbish`, the score of skipping a rubbish segment, None if every one must be a character;
    `context`, whether the ink around a segment is seen; `segment`, how images are cut; `network`,
    the size of the network. For the others: the settings of that name.
    """

    grammar: str = "amount"
    rubbish: float | None = 0.0
    candidates: int = 5
    context: bool = True
    segment: SegmentConfig = field(default_factory=SegmentConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    front_end: str = "segments"
    sliding: SlidingConfig = field(default_factory=SlidingConfig)
    strokes: PenConfig = field(default_factory=PenConfig)
    sound: SoundConfig = field(default_factory=SoundConfig)
    segmental: SegmentalConfig = field(default_factory=SegmentalConfig)
    temperature: float = 1.0


PRESETS: dict[str, Callable[[ReaderConfig], FrontEnd]] = {
    "segments": lambda config: SegmentsFrontEnd(
        config.segment, config.network, rubbish=config.rubbish, context=config.context
    ),
    "segmental": lambda config: SegmentalFrontEnd(config.segmental),
    "sliding": lambda config: SlidingFrontEnd(config.sliding),
    "strokes": lambda config: PenFrontEnd(config.strokes),
    "sound": lambda config: SoundFrontEnd(config.sound),
}
"""The front ends by the name that a configuration carries, made from it."""


class CheckReader(Recognizer):
    """The recognizer of amounts: their alphabet, one of their grammars, and a front end.

    Source: LeCun, Bottou, Bengio & Haffner 1998, sections V to X.
    """

    def __init__(self, config: ReaderConfig | None = None) -> None:
        config = config or ReaderConfig()
        for kind, name, known in (
            ("grammar", config.grammar, amounts.GRAMMARS),
            ("front end", config.front_end, PRESETS),
        ):
            if name not in known:
                raise ValueError(f"CheckReader: {kind} {name!r} is not one of {', '.join(known)}")
        super().__init__(
            AMOUNTS,
            amounts.GRAMMARS[config.grammar](rubbish=None),
            PRESETS[config.front_end](config),
            candidates=config.candidates,
            temperature=config.temperature,
        )
        self.config = config

    def calibrate(self, temperature: float) -> None:
        """Set the temperature of confidences, here and in the configuration."""
        super().calibrate(temperature)
        self.config = replace(self.config, temperature=temperature)

    def see_context(self, context: bool) -> None:
        """Let a network over segments see the ink around them, or not."""
        super().see_context(context)
        self.config = replace(self.config, context=context)

    def _checked(self, text: str) -> gtnet.Graph:
        return amounts.amount_graph(text, self.language)

    def segment(self, images: Sequence[np.ndarray]) -> list[Any]:
        """The segmentation (or line) of each image: `observe`."""
        return self.observe(images)

    def scores(
        self,
        segmentations: Sequence[Segmentation],
        change: Callable[[Tensor], Tensor] | None = None,
    ) -> Tensor:
        """Class scores of all segments of a batch, float [segments, classes], against rubbish."""
        return segment_scores(self.network, segmentations, change, context=self.config.context)

    def read_segmentations(
        self, segmentations: Sequence[Any], *, batch_size: int = 32
    ) -> list[Answer]:
        """`read_observations`, for images that are segmented already."""
        return self.read_observations(segmentations, batch_size=batch_size)
