"""The check reader: from an image of an amount to an answer, through graphs.

An image is cut into a segmentation graph, a network turns that into a recognition graph, and the
grammar of amounts into an interpretation graph, whose paths are the readings. All of it is
trained by the difference of two forward scores. Commands: `gtnet train | read | draw`.
"""

from gtnet.reader.amounts import amount_grammar as amount_grammar
from gtnet.reader.amounts import amount_graph as amount_graph
from gtnet.reader.amounts import digit_string as digit_string
from gtnet.reader.checkpoint import load_reader as load_reader
from gtnet.reader.checkpoint import save_reader as save_reader
from gtnet.reader.data import Characters as Characters
from gtnet.reader.data import Dataset as Dataset
from gtnet.reader.data import load as load
from gtnet.reader.data import read_image as read_image
from gtnet.reader.reader import Answer as Answer
from gtnet.reader.reader import CheckReader as CheckReader
from gtnet.reader.reader import ReaderConfig as ReaderConfig
from gtnet.reader.reader import rejection_threshold as rejection_threshold
from gtnet.reader.segment import Segmentation as Segmentation
from gtnet.reader.train import TrainConfig as TrainConfig
from gtnet.reader.train import Trainer as Trainer
from gtnet.reader.train import TrainingData as TrainingData
