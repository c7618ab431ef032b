"""The installed wheel works: imported from site-packages, path sums and rewrites."""

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

lattice = gtnet.Emissions(torch.randn(2, 9, 4)) @ gtnet.ctc_graph([[1, 2], [3, 3]])
torch.testing.assert_close(gtnet.forward_score(lattice), gtnet.forward_score(lattice.graph()))
assert gtnet.label_sequences(gtnet.viterbi_path(lattice)) == [[1, 2], [3, 3]]

log_probs = torch.randn(9, 2, 4).log_softmax(-1).requires_grad_()
arguments = (torch.tensor([[1, 2], [3, 3]]), torch.tensor([9, 7]), torch.tensor([2, 2]))
pairs = [
    torch.autograd.grad(loss(log_probs.log_softmax(-1), *arguments), log_probs)
    for loss in (gtnet.losses.ctc_loss, torch.nn.functional.ctc_loss)
]
torch.testing.assert_close(*pairs)

words = gtnet.linear([0, 1]) | gtnet.linear([0, 1, 2])
least = gtnet.minimize(gtnet.determinize(words | words, semiring="tropical"))
assert least.num_states == 4
assert gtnet.equivalent(least, gtnet.determinize(words, semiring="tropical"))
print(f"gtnet {gtnet.__version__}, torch {torch.__version__}, Python {sys.version.split()[0]}: ok")
