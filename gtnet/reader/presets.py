"""The settings that a run starts with, by data set and front end."""

from __future__ import annotations

from dataclasses import replace

from gtnet.reader.reader import ReaderConfig
from gtnet.reader.recognize import NetworkConfig
from gtnet.reader.splits import DataConfig
from gtnet.reader.train import PhaseConfig, TrainConfig

DEMO = DataConfig(size=2500, test_size=1000)
USUAL = {
    "digits": TrainConfig(),
    "folder": TrainConfig(),
    "shards": TrainConfig(workers=1),
    "car_a": TrainConfig(
        isolated=PhaseConfig(epochs=8, rate=4e-3, batch_size=128, jitter=0.6),
        whole=PhaseConfig(epochs=50, rate=2e-3, batch_size=16, jitter=0.3, distort=0.5),
        average=0.99,
        workers=1,
        reader=ReaderConfig(network=NetworkConfig(channels=(16, 32, 64), hidden=128, dropout=0.3)),
    ),
}
"""The settings a run starts with, by data set."""

_SLIDING = TrainConfig(
    isolated=PhaseConfig(epochs=8, rate=3e-3, batch_size=32, distort=0.8, made_up=3200),
    whole=PhaseConfig(epochs=60, rate=2e-3, batch_size=32, distort=0.9, made_up=784),
    average=0.998,
    prior=0.5,
    calibrate=True,
    reader=ReaderConfig(front_end="sliding"),
)
_SHORT = replace(
    _SLIDING,
    isolated=replace(_SLIDING.isolated, epochs=3),
    whole=replace(_SLIDING.whole, epochs=6),
    average=0.99,
)
SLIDING = {
    "digits": _SHORT,
    "folder": _SLIDING,
    "shards": replace(_SHORT, workers=1),
    "car_a": _SLIDING,
}
"""The same for a network swept over lines."""

OVER_TIME = TrainConfig(
    whole=PhaseConfig(epochs=40, rate=3e-3, batch_size=32, distort=0.8),
    average=0.998,
    calibrate=True,
)
