"""Graphs of other libraries and formats, one module each, and graphs on disk.

`read` and `write` files, `from_text` and `to_text` for strings, `from_...` and `to_...` for
objects. Reading gives leaf tensors, writing detaches; a file is written whole or not at all.
"""

from __future__ import annotations

from gtnet.interop import gtn as gtn
from gtnet.interop import k2 as k2
from gtnet.interop import openfst as openfst
from gtnet.interop.archive import load as load
from gtnet.interop.archive import save as save
from gtnet.interop.arrays import from_numpy as from_numpy
from gtnet.interop.arrays import to_numpy as to_numpy
from gtnet.interop.networkx import from_networkx as from_networkx
from gtnet.interop.networkx import to_networkx as to_networkx
