"""Front ends: what stands between an input and the recognition graph of its characters."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Sized
from functools import partial
from typing import Any, Protocol

import numpy as np
from torch import nn

import gtnet
from gtnet.reader.alphabet import Alphabet
from gtnet.reader.augment import jitter
from gtnet.reader.languages import skipping
from gtnet.reader.pen import PenFrontEnd
from gtnet.reader.recognize import NetworkConfig, SegmentNetwork, recognition_graph, segment_scores
from gtnet.reader.segment import GEOMETRY, Segmentation, SegmentConfig, segment
from gtnet.reader.segmental import SegmentalFrontEnd
from gtnet.reader.settings import as_dict, from_dict
from gtnet.reader.sliding import SlidingFrontEnd
from gtnet.reader.sound import SoundFrontEnd


class FrontEnd(Protocol):
    """A way from inputs (images, pen strokes, sound) to recognition graphs.

    The graphs may be chains of frames or segmentation graphs. Their labels are those of an
    `Alphabet`, `nothing` among them; `characters` says how labels along a path spell characters.
    """

    name: str
    looks: Sequence[Any]
    """Changes for `recognition`, under which a reader that is unsure looks again; may be none."""

    def settings(self) -> dict[str, Any]:
        """All that makes it, as JSON takes it."""

    def observe(self, image: Any, /) -> Sized:
        """What the network looks at of one input; its length is 0 where nothing is there."""

    def network(self, alphabet: Alphabet) -> nn.Module:
        """A network, untrained, that scores the labels of an alphabet."""

    def characters(self, alphabet: Alphabet) -> gtnet.Graph:
        """The transducer from labels of the recognition graph to the characters they spell."""

    def recognition(
        self, network: nn.Module, observations: Sequence[Any], change: Any = None
    ) -> gtnet.Emissions:
        """The batch of recognition graphs; `change` distorts what the network sees, in training."""

    def change(self, strength: float) -> Any:
        """A random change for `recognition`, of what the network sees; None at strength 0."""


class SegmentsFrontEnd:
    """Images to pieces that might be characters, cut by rules: a `FrontEnd`.

    `rubbish`: score of skipping a segment as no character; None if every one must be a character;
    `context`: whether the network sees the ink around a segment too.
    Source: LeCun, Bottou, Bengio & Haffner 1998, section V.
    """

    name = "segments"
    looks: Sequence[Any] = ()

    def __init__(
        self,
        config: SegmentConfig | None = None,
        size: NetworkConfig | None = None,
        *,
        rubbish: float | None = 0.0,
        context: bool = True,
    ) -> None:
        self.config, self.size = config or SegmentConfig(), size
        self.rubbish, self.context = rubbish, context

    def settings(self) -> dict[str, Any]:
        """All that makes it, as JSON takes it."""
        size = None if self.size is None else as_dict(self.size)
        own = {"rubbish": self.rubbish, "context": self.context}
        return {"config": as_dict(self.config), "size": size, **own}

    @classmethod
    def from_settings(cls, values: dict[str, Any]) -> SegmentsFrontEnd:
        """The front end that `settings` describes."""
        size = None if values["size"] is None else from_dict(NetworkConfig, values["size"])
        config = from_dict(SegmentConfig, values["config"])
        return cls(config, size, rubbish=values["rubbish"], context=values["context"])

    def observe(self, image: np.ndarray) -> Segmentation:
        """The segmentation of an image, uint8 [height, width], dark ink on light paper."""
        return segment(image, self.config)

    def network(self, alphabet: Alphabet) -> SegmentNetwork:
        """A network that scores the labels of an alphabet for every segment."""
        side = self.config.size
        size = self.size or NetworkConfig(classes=alphabet.num_labels)
        if size.classes != alphabet.num_labels:
            raise ValueError(
                f"SegmentsFrontEnd: the network scores {size.classes} classes, the alphabet has"
                f" {alphabet.num_labels} labels: its characters and what is none"
            )
        return SegmentNetwork((side, side), len(GEOMETRY), size)

    def characters(self, alphabet: Alphabet) -> gtnet.Graph:
        """The transducer that copies characters and skips rubbish, if it may be skipped."""
        return skipping(alphabet, self.rubbish)

    def recognition(
        self, network: nn.Module, segmentations: Sequence[Segmentation], change: Any = None
    ) -> gtnet.Emissions:
        """The batch of recognition graphs: segmentation graphs, a score per label on each arc.

        A score is the log of how much likelier the label is than rubbish, so that a path through
        few segments has no advantage over one through many: what it leaves out is rubbish.
        """
        scores = segment_scores(network, segmentations, change, context=self.context)
        return recognition_graph(scores, segmentations)

    def change(self, strength: float) -> Any:
        """A small affine change of each segment; None at strength 0."""
        return partial(jitter, strength=strength) if strength else None


FRONT_ENDS: dict[str, Callable[[dict[str, Any]], FrontEnd]] = {
    "segments": SegmentsFrontEnd.from_settings,
    "segmental": SegmentalFrontEnd.from_settings,
    "sliding": SlidingFrontEnd.from_settings,
    "strokes": PenFrontEnd.from_settings,
    "sound": SoundFrontEnd.from_settings,
}
"""The front ends that come with the reader, by name: made from their settings."""
