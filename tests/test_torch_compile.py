"""torch.compile traces scores and their gradients into one graph."""

import pytest
import torch

import gtnet


@pytest.mark.parametrize("score", [gtnet.forward_score, gtnet.viterbi_score])
def test_scores_compile_without_graph_breaks(score):
    graph = gtnet.linear([[0, 1, 2], [3]])
    score(graph.with_weights(graph.weights.clone().requires_grad_()))  # prepares the topology

    def twice(weights):
        doubled = gtnet.Graph.from_topology(graph.topology, 2 * weights, graph.start, graph.accept)
        return score(doubled)

    weights = torch.tensor([1.0, 2.0, 3.0, 4.0], requires_grad=True)
    compiled = torch.compile(twice, backend="aot_eager", fullgraph=score is gtnet.forward_score)
    result = compiled(weights)
    result.sum().backward()
    assert result.tolist() == [12.0, 8.0]
    assert weights.grad.tolist() == [2.0] * 4
