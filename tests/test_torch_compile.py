"""torch.compile traces scores and their gradients into one graph."""

import pytest
import torch

import gtnet
from gtnet import Graph


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


def far_and_near() -> Graph:
    graph = Graph([0, 0, 1, 3], [1, 3, 2, 2], [0, 1, 2, 3], accept=2).to(torch.float64)
    gtnet.forward_score(graph.detach().requires_grad_())  # prepares the topology
    return graph


@pytest.mark.parametrize("scores", [[1e17, 1e17, 0, 0], [1e12, 0, -1e12, 0]])
def test_compiled_gradients_of_scores_far_from_zero_are_refused(scores):
    """What is traced cannot look at data; the operator does."""
    graph = far_and_near()
    weights = torch.tensor(scores, dtype=torch.float64, requires_grad=True)
    torch._dynamo.reset()
    compiled = torch.compile(
        lambda w: gtnet.forward_score(graph.with_weights(w)), backend="aot_eager", fullgraph=True
    )
    with pytest.raises(RuntimeError, match=r"no gradient of path scores beyond 1e9"):
        compiled(weights).sum().backward()


def test_compiled_scores_may_mask_arcs_by_far_ones():
    graph = far_and_near()
    scores = torch.tensor([0.5, -1e30, 1.0, 0.0], dtype=torch.float64)
    weights = scores.requires_grad_()
    torch._dynamo.reset()
    compiled = torch.compile(
        lambda w: gtnet.forward_score(graph.with_weights(w)), backend="aot_eager", fullgraph=True
    )
    value = compiled(weights)
    value.sum().backward()
    assert value.item() == 1.5
    assert weights.grad.tolist() == [1, 0, 1, 0]


@pytest.mark.filterwarnings("ignore:Dynamo does not know how to trace")
def test_the_entropy_of_a_lattice_has_a_gradient_in_compiled_code():
    graph = gtnet.ctc_graph([[0, 1], [2]], blank=3).to(torch.float64)
    scores = torch.randn(2, 6, 4, dtype=torch.float64, requires_grad=True)

    def uncertainty(scores):
        return gtnet.entropy(gtnet.compose(gtnet.Emissions(scores), graph)).sum()

    torch._dynamo.reset()
    values = uncertainty(scores), torch.compile(uncertainty, backend="aot_eager")(scores)
    ours, compiled = (torch.autograd.grad(value, scores)[0] for value in values)
    torch.testing.assert_close(values[0], values[1])
    torch.testing.assert_close(ours, compiled)
