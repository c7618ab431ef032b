"""What a training is: its settings, its data, and the phases that follow from both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from gtnet.reader.data import Characters, Dataset
from gtnet.reader.observed import Observed
from gtnet.reader.phases import IsolatedPhase, LinePhase, Phase, PhaseConfig, WholePhase, examples
from gtnet.reader.reader import ReaderConfig
from gtnet.reader.recognizer import Recognizer
from gtnet.reader.stream import Shards, StreamedPhase

_ISOLATED = PhaseConfig(epochs=6, rate=4e-3, batch_size=128, jitter=0.5)
_WHOLE = PhaseConfig(epochs=6, rate=2e-3, batch_size=32, jitter=0.3)


@dataclass(frozen=True)
class TrainConfig:
    """How a reader is trained; the same configuration and data give the same reader.

    `characters`: isolated characters to synthesise, where the data set can; `weight_decay` and
    `clip` (greatest gradient norm) for AdamW; `average`: decay per step of the moving average of
    the weights that is kept as the model, 0 for none; `workers`: processes that cut images;
    `loss`: of the second phase (of a network over lines, of both), a name in `gtnet.losses.LOSSES`;
    `prior`: strength of a prior made of the training texts, see `Prior`, that the trained reader
    reads with; 0 for none; `calibrate`: whether the temperature of confidences is then fitted on
    the validation amounts; `pretrain`: what the network learns first from ink alone, one of
    `gtnet.reader.pretrain.METHODS`; `micro_batches`: parts of every batch whose gradients are added
    up, by one process in turn or by several at once, see `Share`; `precision`: what the network
    computes in while it is trained, one of `gtnet.reader.step.PRECISIONS`; `compile`: the backend
    of `torch.compile` that the network is trained with, empty for none.
    """

    seed: int = 0
    isolated: PhaseConfig = _ISOLATED
    whole: PhaseConfig = _WHOLE
    characters: int = 6000
    weight_decay: float = 0.02
    clip: float = 5.0
    average: float = 0.98
    workers: int = 0
    loss: str = "discriminative_forward"
    prior: float = 0.0
    calibrate: bool = False
    pretrain: str = "none"
    micro_batches: int = 1
    precision: str = "float32"
    compile: str = ""
    reader: ReaderConfig = field(default_factory=ReaderConfig)


@dataclass
class TrainingData:
    """What a reader is trained on.

    `valid`: amounts that are read after every epoch, to see how training goes; `characters`:
    isolated characters for a reader of segments, none leaves its first phase out; `strings`:
    made-up lines for the first phase of a network over lines, `mixed`: for its second;
    `unlabelled`: images whose ink alone is learnt from, where the configuration says how; by
    default those of `train`. `train` may be `Shards`, larger than memory.
    """

    train: Dataset | Shards
    valid: Dataset | None = None
    characters: Sequence[Characters] = ()
    strings: Dataset | None = None
    mixed: Dataset | None = None
    unlabelled: Sequence[Any] | None = None


def phases_of(reader: Recognizer, config: TrainConfig, data: TrainingData) -> list[Phase]:
    """The phases in which a reader is trained; those for which there are no data are left out."""
    if reader.front_end.name == "segments":
        return _of_segments(reader, config, data)
    strings, written, mixed = (
        None
        if part is None or isinstance(part, Shards)
        else Observed(part, reader.front_end.observe)
        for part in (data.strings, data.train, data.mixed)
    )
    phases: list[Phase] = []
    first, second = config.isolated, config.whole
    if strings is not None and first.epochs and first.made_up:
        phases.append(
            LinePhase(
                "strings", reader, first, None, strings, loss=config.loss, workers=config.workers
            )
        )
    if second.epochs:
        if isinstance(data.train, Shards):
            mixed = None  # there is enough that somebody wrote
        whole = LinePhase(
            "whole", reader, second, written, mixed, loss=config.loss, workers=config.workers
        )
        phases.append(_streamed(whole, reader, config, data))
    return phases


def _of_segments(reader: Recognizer, config: TrainConfig, data: TrainingData) -> list[Phase]:
    phases: list[Phase] = []
    if data.characters and config.isolated.epochs:
        cut = config.reader.segment
        found = examples(data.characters, cut)
        phases.append(IsolatedPhase(reader, config.isolated, found))
    if config.whole.epochs:
        images = None
        if not isinstance(data.train, Shards):
            images = Observed(
                data.train,
                reader.front_end.observe,
                distortion=config.whole.distort,
                seed=config.seed,
            )
        whole = WholePhase(
            reader,
            config.whole,
            images,
            workers=config.workers,
            pretrained=bool(phases),
            loss=config.loss,
        )
        phases.append(_streamed(whole, reader, config, data, config.whole.distort))
    return phases


def _streamed(
    phase: Phase,
    reader: Recognizer,
    config: TrainConfig,
    data: TrainingData,
    distortion: float = 0.0,
) -> Phase:
    """A phase, or where the data are shards, the same one on them."""
    if not isinstance(data.train, Shards):
        return phase
    return StreamedPhase(
        phase,
        data.train,
        reader.front_end.observe,
        pieces=config.micro_batches,
        workers=config.workers,
        seed=config.seed,
        distortion=distortion,
    )
