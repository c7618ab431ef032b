"""The installed wheel works: imported from site-packages, one forward score and its gradient."""

from __future__ import annotations

import importlib.metadata
import sys
from pathlib import Path

import torch

import gtnet

assert Path(gtnet.__file__).is_relative_to(sys.prefix), f"imported from {gtnet.__file__}"
assert importlib.metadata.version("gtnet-wfst") == gtnet.__version__

weights = torch.zeros(2, requires_grad=True)
graph = gtnet.Graph([0, 0], [1, 1], [0, 1], weights=weights, accept=1)
score = gtnet.forward_score(graph)
score.sum().backward()
torch.testing.assert_close(score.detach(), torch.tensor([2.0]).log())
torch.testing.assert_close(weights.grad, torch.tensor([0.5, 0.5]))
print(f"gtnet {gtnet.__version__}, torch {torch.__version__}, Python {sys.version.split()[0]}: ok")
