"""Words out of emissions: one-call decoders and what they are made of."""

from __future__ import annotations

from gtnet.decode.context import context_graph as context_graph
from gtnet.decode.ctc import CTCDecoder as CTCDecoder
from gtnet.decode.ctc import CTCStream as CTCStream
from gtnet.decode.ctc import ctc_decoder as ctc_decoder
from gtnet.decode.fusion import fuse as fuse
from gtnet.decode.hypotheses import Hypothesis as Hypothesis
from gtnet.decode.hypotheses import Timed as Timed
from gtnet.decode.transducer import Transcript as Transcript
from gtnet.decode.transducer import TransducerDecoder as TransducerDecoder
from gtnet.decode.transducer import TransducerStream as TransducerStream
from gtnet.language_model import LanguageModel as LanguageModel
from gtnet.language_model import Predictor as Predictor
