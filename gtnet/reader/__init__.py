"""Recognizers of lines: from an image to an answer in any language, through graphs.

A front end cuts an image into segments, or sweeps a network over it; the network's scores make it
a recognition graph, a grammar or lexicon an interpretation graph, whose paths are the readings.
The whole is trained through the difference of two forward scores. `Recognizer` takes any alphabet
and language, `CheckReader` is the one of amounts. Commands: `gtnet train | read | draw`.
"""

from gtnet.reader.alphabet import Alphabet as Alphabet
from gtnet.reader.amounts import amount_grammar as amount_grammar
from gtnet.reader.amounts import amount_graph as amount_graph
from gtnet.reader.amounts import digit_string as digit_string
from gtnet.reader.checkpoint import load_reader as load_reader
from gtnet.reader.checkpoint import save_reader as save_reader
from gtnet.reader.combine import Combined as Combined
from gtnet.reader.data import Characters as Characters
from gtnet.reader.data import Dataset as Dataset
from gtnet.reader.data import load as load
from gtnet.reader.data import read_image as read_image
from gtnet.reader.expressions import regular_expression as regular_expression
from gtnet.reader.front_end import FrontEnd as FrontEnd
from gtnet.reader.front_end import SegmentsFrontEnd as SegmentsFrontEnd
from gtnet.reader.languages import any_string as any_string
from gtnet.reader.languages import lexicon as lexicon
from gtnet.reader.languages import ngram as ngram
from gtnet.reader.pen import PenConfig as PenConfig
from gtnet.reader.pen import PenFrontEnd as PenFrontEnd
from gtnet.reader.prior import Prior as Prior
from gtnet.reader.reader import Answer as Answer
from gtnet.reader.reader import CheckReader as CheckReader
from gtnet.reader.reader import ReaderConfig as ReaderConfig
from gtnet.reader.reader import rejection_threshold as rejection_threshold
from gtnet.reader.recognizer import Recognizer as Recognizer
from gtnet.reader.recompose import Recomposed as Recomposed
from gtnet.reader.segment import Segmentation as Segmentation
from gtnet.reader.segmental import SegmentalConfig as SegmentalConfig
from gtnet.reader.segmental import SegmentalFrontEnd as SegmentalFrontEnd
from gtnet.reader.sequence import SequenceConfig as SequenceConfig
from gtnet.reader.sliding import SlidingConfig as SlidingConfig
from gtnet.reader.sliding import SlidingFrontEnd as SlidingFrontEnd
from gtnet.reader.sound import Recording as Recording
from gtnet.reader.sound import SoundConfig as SoundConfig
from gtnet.reader.sound import SoundFrontEnd as SoundFrontEnd
from gtnet.reader.splice import Parted as Parted
from gtnet.reader.splice import Spliced as Spliced
from gtnet.reader.splice import parted as parted
from gtnet.reader.train import TrainConfig as TrainConfig
from gtnet.reader.train import Trainer as Trainer
from gtnet.reader.train import TrainingData as TrainingData
