"""A film of learning: the interpretation graph of one image, after every epoch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import gtnet
from gtnet.reader import checkpoint
from gtnet.reader.data import Dataset
from gtnet.reader.recognize import recognition_graph
from gtnet.reader.recognizer import Recognizer
from gtnet.reader.report import segment_images
from gtnet.reader.segment import Segmentation, SegmentConfig, segment

FILM = "film.safetensors"
_CANDIDATES = 64


class Film:
    """Remembers how a network in training scores the segments of one image.

    Attributes: `image`, uint8 [height, width]; `segmentation` of it; `frames`, the scores
    [segments, classes] by caption, in the order they were taken.
    """

    def __init__(self, image: np.ndarray, config: SegmentConfig) -> None:
        self.image, self.config = image, config
        self.segmentation: Segmentation = segment(image, config)
        self.frames: dict[str, Tensor] = {}

    @classmethod
    def of(cls, data: Dataset, config: SegmentConfig) -> Film:
        """A film of a short amount of a data set: its graph fits on a page."""
        few = [data[i] for i in range(min(len(data), _CANDIDATES))]
        image, _ = min(few, key=lambda pair: len(pair[1]))
        return cls(image, config)

    @torch.no_grad()
    def shoot(self, reader: Recognizer, caption: str) -> None:
        """Take one frame; `reader` in evaluation mode. One forward pass over a few segments."""
        if len(self.segmentation):
            self.frames[caption] = reader.recognition([self.segmentation]).scores

    def animation(self, reader: Recognizer, *, seconds: float = 0.6) -> gtnet.Animation:
        """The interpretation graph under the scores of each frame.

        Raises ValueError for a film without frames or an image without a reading.
        """
        cut = self.segmentation
        graphs = [
            reader.interpretation(recognition_graph(scores, [cut])).graph()
            for scores in self.frames.values()
        ]
        crops = segment_images(self.image, cut)
        classes = next(iter(self.frames.values())).shape[1] if self.frames else 1
        maps = graphs[-1].arc_maps if graphs else None
        read = maps[0].tolist() if maps else []
        return gtnet.draw_animation(
            graphs,
            captions=list(self.frames),
            isymbols=reader.alphabet.symbols,
            osymbols=reader.alphabet.symbols,
            images={arc: crops[row // classes] for arc, row in enumerate(read) if row >= 0},
            min_posterior=0.03,
            max_labels=3,
            seconds=seconds,
        )

    def save(self, folder: Path) -> None:
        """Write the film into a folder, as film.safetensors."""
        frames = {f"frame{i}": scores for i, scores in enumerate(self.frames.values())}
        image = torch.from_numpy(np.array(self.image))
        state = {"captions": list(self.frames)}
        checkpoint.save_tensors(folder / FILM, {"image": image, **frames}, state)

    @classmethod
    def load(cls, folder: Path, config: SegmentConfig) -> Film | None:
        """The film in a folder, None if there is none. Raises ValueError for a damaged one."""
        if not (folder / FILM).is_file():
            return None
        tensors, state = checkpoint.load_tensors(folder / FILM)
        try:
            film = cls(tensors["image"].numpy(), config)
            film.frames = {name: tensors[f"frame{i}"] for i, name in enumerate(state["captions"])}
        except (KeyError, TypeError) as error:
            raise ValueError(f"Film.load: {folder / FILM} is no film: {error!r}") from None
        return film
