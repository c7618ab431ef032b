"""The names that options choose among, which the reader defines; tests compare them."""

from __future__ import annotations

GRAMMARS = ("amount", "digit_string")
"""Of amounts: gtnet.reader.amounts.GRAMMARS."""

FRONT_ENDS = ("segmental", "segments", "sliding", "sound", "strokes")
"""From an image to a graph: gtnet.reader.reader.PRESETS."""

LOSSES = (
    "discriminative_forward",
    "discriminative_viterbi",
    "energy",
    "forward",
    "generalized_margin",
    "generalized_margin_k_best",
    "hinge",
    "log",
    "lvq2",
    "mce",
    "mee",
    "minimum_risk",
    "minimum_risk_k_best",
    "nll",
    "perceptron",
    "soft_margin",
    "square_exp",
    "square_square",
    "structured_hinge",
    "viterbi",
)
"""Of graphs: gtnet.losses.LOSSES."""

METHODS = ("none", "psd", "vae")
"""Of pretraining: gtnet.reader.pretrain.METHODS."""

PRECISIONS = ("float32", "bfloat16")
"""Of networks: gtnet.reader.step.PRECISIONS."""

FORMATS = ("text", "json", "jsonl", "csv")
"""Of answers: gtnet.reader.reading.FORMATS."""

ENGINES = ("processes", "ray")
"""Who reads many images: gtnet.reader.bulk.job.ENGINES."""

MODELS = ("runs/demo", "demo")
"""Where a model is looked for when none is named: gtnet train --demo, and make demo."""
