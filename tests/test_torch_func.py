"""torch.func, torch.compile and torch.export of path sums and losses."""

from __future__ import annotations

import pytest
import torch
from torch.autograd.functional import hessian, jacobian
from torch.func import grad, jacrev, vmap

import gtnet
from gtnet import Emissions, losses

TARGETS = torch.tensor([[1, 2], [3, 0]])
LENGTHS, SIZES = torch.tensor([5, 4]), torch.tensor([2, 1])


def bigrams(scores: torch.Tensor) -> gtnet.Graph:
    return gtnet.bigram_graph(4, torch.arange(16).view(4, 4).to(scores.dtype).cos())


def ctc(x):
    return losses.ctc_loss(x.log_softmax(2), TARGETS, LENGTHS, SIZES)


def ctc_of_a_list(x):
    given = (torch.tensor([1, 2, 3]), [5, 4], [2, 1])
    return losses.ctc_loss(x.log_softmax(2), *given, reduction="sum", beta=0.5)


def asg(x):
    return losses.asg_loss(x, TARGETS, LENGTHS, SIZES, torch.zeros(4, 4, dtype=x.dtype))


def lf_mmi(x):
    emissions = Emissions(x.transpose(0, 1), [5, 4])
    numerator = gtnet.ctc_graph([[1, 2], [3]], dtype=x.dtype)
    return losses.lf_mmi_loss(emissions, numerator, gtnet.ctc_topology(4, dtype=x.dtype))


def transducer(x):
    joint = x.transpose(0, 1).unsqueeze(2).expand(-1, -1, 3, -1)
    return losses.transducer_loss(joint.log_softmax(3), TARGETS, LENGTHS, SIZES)


def lattice(x):
    return (Emissions(x.transpose(0, 1)) @ bigrams(x)).forward_score().sum()


def colder(x):
    return (Emissions(x.transpose(0, 1)) @ bigrams(x)).forward_score(2.0).sum()


def segments(x):
    rows = x.transpose(0, 1).unsqueeze(2).expand(-1, -1, 2, -1)
    return (gtnet.segment_emissions(rows) @ bigrams(x)).forward_score().sum()


def built(x):
    return gtnet.forward_score((Emissions(x.transpose(0, 1)) @ bigrams(x)).graph()).sum()


EVERY = [ctc, ctc_of_a_list, asg, lf_mmi, transducer, lattice, colder, segments, built]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("loss", EVERY)
def test_transforms_agree_with_autograd(loss, dtype):
    torch.manual_seed(0)
    batch = torch.randn(3, 5, 2, 4, dtype=dtype)
    values = torch.stack([loss(x) for x in batch])
    grads = torch.stack([jacobian(loss, x) for x in batch])
    close = torch.testing.assert_close
    close(grad(loss)(batch[0]), grads[0])
    close(vmap(loss)(batch), values)
    close(vmap(loss, in_dims=1)(batch.movedim(0, 1)), values)
    close(vmap(grad(loss))(batch), grads)
    close(grad(lambda xs: vmap(loss)(xs).sum())(batch), grads)
    close(jacrev(vmap(loss))(batch)[1, 1], grads[1])
    # What was prepared inside of a transform serves outside of it.
    close(jacobian(loss, batch[0]), grads[0])


@pytest.mark.parametrize("loss", [ctc, asg, lattice, built])
def test_second_derivatives(loss):
    torch.manual_seed(0)
    x = torch.randn(5, 2, 4, dtype=torch.float64)
    expected = hessian(loss, x)
    torch.testing.assert_close(jacrev(jacrev(loss))(x), expected)
    v = torch.randn_like(x)
    along = grad(lambda x: (grad(loss)(x) * v).sum())(x)
    torch.testing.assert_close(along, (expected * v).sum((3, 4, 5)))


def test_the_jacobian_of_losses():
    def each(x):
        return losses.ctc_loss(x.log_softmax(2), TARGETS, LENGTHS, SIZES, reduction="none")

    x = torch.randn(5, 2, 4, dtype=torch.float64)
    torch.testing.assert_close(jacrev(each)(x), jacobian(each, x))


def graphs() -> dict[str, gtnet.Graph]:
    generator = torch.Generator().manual_seed(1)
    acyclic = gtnet.connect(gtnet.random_graph(5, 9, generator=generator))
    cyclic = gtnet.Graph([0, 0, 1, 1], [0, 1, 1, 0], [0, 1, 0, -1], accept=1)
    return {"acyclic": acyclic, "batch": gtnet.stack([acyclic] * 2), "cyclic": cyclic}


@pytest.mark.parametrize("kind", ["acyclic", "batch", "cyclic"])
@pytest.mark.parametrize("beta", [1.0, 0.5])
def test_scores_of_graphs(kind, beta):
    graph = graphs()[kind].to(torch.float64)

    def score(weights):
        return gtnet.forward_score(graph.with_weights(weights), beta).sum()

    torch.manual_seed(0)
    batch = -4 - torch.rand(3, graph.num_arcs, dtype=torch.float64)
    grads = torch.stack([jacobian(score, w) for w in batch])
    torch.testing.assert_close(grad(score)(batch[0]), grads[0])
    torch.testing.assert_close(vmap(score)(batch), torch.stack([score(w) for w in batch]))
    torch.testing.assert_close(vmap(grad(score))(batch), grads)
    torch.testing.assert_close(jacrev(jacrev(score))(batch[0]), hessian(score, batch[0]))


def test_gradients_to_weights_and_temperature():
    torch.manual_seed(0)
    scores = torch.randn(5, 2, 4, dtype=torch.float64)
    batch = torch.randn(3, 4, 4, dtype=torch.float64)

    def of_transitions(t):
        return losses.asg_loss(scores, TARGETS, LENGTHS, SIZES, t)

    def of_lattice(t):
        emissions = Emissions(scores.transpose(0, 1))
        return (emissions @ gtnet.bigram_graph(4, t)).forward_score().sum()

    for loss in (of_transitions, of_lattice):
        expected = torch.stack([jacobian(loss, t) for t in batch])
        torch.testing.assert_close(vmap(grad(loss))(batch), expected)

    def of_beta(beta):
        given = (scores.log_softmax(2), TARGETS, LENGTHS, SIZES)
        return losses.ctc_loss(*given, beta=beta)

    beta = torch.tensor([0.7, 1.3], dtype=torch.float64)
    torch.testing.assert_close(vmap(grad(of_beta))(beta), jacobian(vmap(of_beta), beta).diagonal())


def test_values_are_checked_inside_of_transforms():
    spoiled = torch.zeros(5, 2, 4)
    spoiled[0, 0, 0] = float("nan")
    for transform in (grad, lambda f: lambda x: vmap(f)(x.unsqueeze(0))):
        with pytest.raises(ValueError, match="must not hold NaN"):
            transform(lattice)(spoiled)
    with pytest.raises(ValueError, match=r"targets must lie in \[0, 4\).*got 5"):
        grad(lambda x: losses.ctc_loss(x, TARGETS + 4, LENGTHS, SIZES))(spoiled * 0)


# torch.compile and torch.export


@pytest.mark.parametrize("name", ["ctc", "bigram", "topology"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_losses_compile_without_graph_breaks(name, dtype):
    """The graph that is met must be prepared: compiled code does not look at data."""
    graph = {
        "ctc": None,
        "bigram": gtnet.bigram_graph(4, dtype=dtype),
        "topology": gtnet.ctc_topology(4, dtype=dtype),
    }[name]
    if graph is not None:
        assert graph.topology.steps is not None

    def score(x):
        if graph is None:
            return losses.ctc_loss(x.log_softmax(2), TARGETS, LENGTHS, SIZES)
        emissions = Emissions(x.transpose(0, 1))
        return gtnet.forward_score(gtnet.compose(emissions, graph)).sum()

    torch._dynamo.reset()
    x = torch.randn(5, 2, 4, dtype=dtype, requires_grad=True)
    y = x.detach().clone().requires_grad_()
    found = torch.compile(score, backend="aot_eager", fullgraph=True)(x)
    expected = score(y)
    torch.testing.assert_close(found, expected)
    found.backward()
    expected.backward()
    torch.testing.assert_close(x.grad, y.grad)

    class Module(torch.nn.Module):
        def forward(self, x):
            return score(x)

    program = torch.export.export(Module(), (x.detach(),)).module()
    torch.testing.assert_close(program(y.detach() + 1), score(y.detach() + 1))


def test_compiled_losses_refuse_what_is_wrong_when_they_run():
    def score(x, lengths):
        return losses.ctc_loss(x.log_softmax(2), TARGETS, lengths, SIZES)

    torch._dynamo.reset()
    compiled = torch.compile(score, backend="aot_eager", fullgraph=True)
    compiled(torch.zeros(5, 2, 4), LENGTHS)
    with pytest.raises((ValueError, RuntimeError), match="ctc_loss"):
        compiled(torch.zeros(5, 2, 4), torch.tensor([5, 9]))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("source", [[0, 0, 1], [0, 1, 1]])
def test_vmap_of_best_paths_and_entropies_with_and_without_cycles(source):
    graph = gtnet.Graph(source, [1, 1, 2] if source[1] == 0 else [1, 0, 2], [0, 1, 2], accept=2)
    batch = torch.tensor([[-1.0, -2.0, -0.5], [-3.0, -1.0, -1.0]])
    for function in (
        gtnet.viterbi_score,
        gtnet.entropy,
        lambda g: gtnet.push(g, semiring="tropical").weights,
    ):
        expected = torch.stack([function(graph.with_weights(row)) for row in batch])
        torch.testing.assert_close(
            vmap(lambda w, f=function: f(graph.with_weights(w)))(batch), expected
        )


def test_vmap_names_the_graph_whose_cycle_has_no_best_path():
    graph = gtnet.stack([gtnet.Graph([0, 0], [0, 1], [0, 1], accept=1)] * 2)
    batch = torch.tensor([[-1.0, 0.0, -1.0, 0.0], [-1.0, 0.0, 1.0, 0.0]])
    with pytest.raises(ValueError, match=r"viterbi_score: graph 1 .*state 0 of positive score"):
        vmap(lambda w: gtnet.viterbi_score(graph.with_weights(w)))(batch)


def no_frames(x):
    given = (torch.tensor([[1, 1], [2, 0]]), torch.tensor([5, 0]), torch.tensor([2, 0]))
    return losses.ctc_loss(x.log_softmax(2), *given, blank=3, reduction="none")


def lattice_entropy(x):
    return (Emissions(x.transpose(0, 1), [5, 4]) @ bigrams(x)).entropy()


def of_labels(x):
    return (Emissions(x.transpose(0, 1), [5, 4]) @ bigrams(x)).label_posteriors()


def no_states(x):
    nothing = gtnet.Graph([], [], [], accept=[]).to(x.dtype)
    return (Emissions(x.transpose(0, 1)) @ nothing).forward_score().exp()


def far_apart(x):
    """Posteriors of two arcs of 1e12 and a bit, between others that take that away again."""
    graph = gtnet.Graph([0, 0, 1], [1, 1, 2], [0, 1, 2], accept=2).to(x.dtype)
    far = torch.tensor([1e12, 1e12, -1e12], dtype=x.dtype)
    return gtnet.posteriors(graph.with_weights(x.flatten()[:3] + far))


@pytest.mark.parametrize("function", [no_frames, lattice_entropy, of_labels, no_states, far_apart])
def test_transforms_of_what_is_rarely_asked_for(function):
    torch.manual_seed(0)
    batch = torch.randn(2, 5, 2, 4, dtype=torch.float64)
    expected = torch.stack([jacobian(function, x) for x in batch])
    close = torch.testing.assert_close
    close(vmap(jacrev(function))(batch), expected)
    close(torch.func.jacfwd(function)(batch[0]), expected[0])
    with torch.autocast("cpu", torch.bfloat16), torch.inference_mode():
        close(vmap(function)(batch), torch.stack([function(x) for x in batch]))


def test_scores_that_outlive_their_transform_have_no_gradient():
    graph, kept = gtnet.Graph([0, 0], [1, 1], [0, 1], accept=1), []

    def score(weights):
        kept.append(graph.with_weights(weights))
        return gtnet.forward_score(kept[0]).sum()

    weights = torch.tensor([0.5, -1.0])
    torch.func.grad(score)(weights)
    found = gtnet.forward_score(kept[0])
    assert not found.requires_grad
    torch.testing.assert_close(found, weights.logsumexp(0, keepdim=True))
