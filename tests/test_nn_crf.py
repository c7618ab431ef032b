"""Conditional random fields against the enumeration of all their tag sequences."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from gtnet.nn import CRF, SemiMarkovCRF

TAGS, FRAMES = 3, 4
LENGTHS = [4, 1, 3]


def score_of(crf, tags):
    total = crf.start_transitions[tags[0]] + crf.end_transitions[tags[-1]]
    allowed = bool(crf.allowed_start[tags[0]] and crf.allowed_end[tags[-1]])
    for a, b in itertools.pairwise(tags):
        total, allowed = total + crf.transitions[a, b], allowed and bool(crf.allowed[a, b])
    return total.item() if allowed else -math.inf


def sequences(crf, emissions, length):
    """All tag sequences of an item, emissions [frames, tags], with their scores."""
    for tags in itertools.product(range(TAGS), repeat=length):
        seen = sum(emissions[t, tag].item() for t, tag in enumerate(tags))
        yield tags, seen + score_of(crf, tags)


def log_sum(scores):
    return torch.logsumexp(torch.tensor(scores, dtype=torch.float64), 0).item()


@pytest.fixture(params=["free", "some forbidden"])
def crf(request):
    torch.manual_seed(1)
    masks = {}
    if request.param == "some forbidden":
        allowed = torch.ones(TAGS, TAGS, dtype=torch.bool)
        allowed[0, 1] = allowed[2, 2] = False
        masks = {"allowed": allowed, "allowed_start": torch.tensor([True, True, False])}
        masks["allowed_end"] = torch.tensor([False, True, True])
    made = CRF(TAGS, batch_first=True, dtype=torch.float64, **masks)
    for scores in made.parameters():
        torch.nn.init.normal_(scores)
    return made


@pytest.fixture
def emissions():
    return torch.randn(len(LENGTHS), FRAMES, TAGS, dtype=torch.float64)


@pytest.fixture
def mask():
    return torch.arange(FRAMES) < torch.tensor(LENGTHS)[:, None]


def test_log_probabilities(crf, emissions, mask):
    tags = torch.tensor(
        [[1, 0, 2, 1], [1, 9, 9, 9], [0, 0, 2, 9]]
    )  # what is masked out is not read
    found = crf(emissions, tags, mask, reduction="none")
    for item, length in enumerate(LENGTHS):
        scores = dict(sequences(crf, emissions[item], length))
        wanted = scores[tuple(tags[item, :length].tolist())] - log_sum(list(scores.values()))
        assert found[item].item() == pytest.approx(wanted)
    reduced = {
        name: crf(emissions, tags, mask, name).item() for name in ("sum", "mean", "token_mean")
    }
    assert reduced["sum"] == pytest.approx(found.sum().item()) == pytest.approx(3 * reduced["mean"])
    assert reduced["token_mean"] == pytest.approx(reduced["sum"] / sum(LENGTHS))
    first = CRF(TAGS, dtype=torch.float64, allowed=crf.allowed, allowed_start=crf.allowed_start)
    first.allowed_end.copy_(crf.allowed_end)
    first.load_state_dict(crf.state_dict())
    turned = first(emissions.transpose(0, 1), tags.T, mask.T.to(torch.uint8), "none")
    torch.testing.assert_close(turned, found)


def test_best_tags_and_k_best(crf, emissions, mask):
    best, several = crf.decode(emissions, mask), crf.k_best(emissions, 5, mask)
    for item, length in enumerate(LENGTHS):
        scores = dict(sequences(crf, emissions[item], length))
        total = log_sum(list(scores.values()))
        ranked = sorted((s, tags) for tags, s in scores.items() if s > -math.inf)[::-1]
        assert tuple(best[item]) == ranked[0][1]
        assert [tuple(tags) for tags, _ in several[item]] == [tags for _, tags in ranked[:5]]
        for (_, found), (score, _) in zip(several[item], ranked):
            assert found == pytest.approx(score - total)


def test_marginals(crf, emissions, mask):
    found = crf.marginals(emissions, mask)
    wanted = torch.zeros_like(emissions)
    for item, length in enumerate(LENGTHS):
        scores = list(sequences(crf, emissions[item], length))
        total = log_sum([s for _, s in scores])
        for tags, score in scores:
            for t, tag in enumerate(tags):
                wanted[item, t, tag] += math.exp(score - total)
    torch.testing.assert_close(found, wanted)


def test_gradients(crf, emissions, mask):
    tags = torch.tensor([[1, 0, 2, 1], [1, 0, 0, 0], [0, 0, 2, 0]])
    scores = [p.detach().clone().requires_grad_() for p in crf.parameters()]
    names = [name for name, _ in crf.named_parameters()]

    def work(emissions, *scores):
        given = (emissions, tags, mask, "none")
        found = torch.func.functional_call(crf, dict(zip(names, scores)), given)
        return found[torch.isfinite(found)]

    assert torch.autograd.gradcheck(work, (emissions.requires_grad_(), *scores))
    crf(emissions, tags, mask).backward()
    assert crf.transitions.grad[~crf.allowed].eq(0).all()


def test_everything_forbidden_has_no_tags():
    crf = CRF(2, batch_first=True, allowed=torch.zeros(2, 2, dtype=torch.bool))
    emissions = torch.zeros(2, 2, 2)
    assert crf.decode(emissions, torch.tensor([[True, True], [True, False]]))[0] == []
    assert crf.k_best(emissions, 3)[0] == []
    found = crf(emissions, torch.zeros(2, 2).long(), reduction="none")
    assert found.tolist() == [-math.inf, -math.inf]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_short_floats(dtype):
    crf = CRF(2, batch_first=True)
    emissions = torch.randn(1, 3, 2).to(dtype).requires_grad_()
    loss = -crf(emissions, torch.tensor([[0, 1, 1]]))
    loss.backward()
    assert loss.item() >= 0 and emissions.grad.dtype == dtype
    assert crf.marginals(emissions.detach()).sum().item() == pytest.approx(3, rel=1e-2)


def test_state_dicts_of_pytorch_crf():
    torchcrf = pytest.importorskip("torchcrf", reason="pytorch-crf is not installed")
    theirs, ours = torchcrf.CRF(4), CRF(4)
    ours.load_state_dict(theirs.state_dict())
    emissions, tags = torch.randn(6, 3, 4), torch.randint(4, (6, 3))
    mask = torch.arange(6)[:, None] < torch.tensor([6, 2, 4])
    torch.testing.assert_close(ours(emissions, tags, mask), theirs(emissions, tags, mask))
    assert ours.decode(emissions, mask) == theirs.decode(emissions, mask)


@pytest.mark.parametrize(
    ("work", "message"),
    [
        (lambda: CRF(0), "num_tags must be at least 1"),
        (lambda: CRF(2, allowed=torch.ones(2, 2)), r"allowed must be bool \[2, 2\]"),
        (lambda: CRF(2)(torch.zeros(3, 1, 5), torch.zeros(3, 1).long()), "with 2 tags, got"),
        (lambda: CRF(2)(torch.zeros(3, 1, 2), torch.zeros(1, 3).long()), "tags must be"),
        (lambda: CRF(2)(torch.zeros(3, 1, 2), torch.full((3, 1), 2)), "tags"),
        (
            lambda: CRF(2).decode(torch.zeros(3, 1, 2), torch.tensor([[True, False, True]]).T),
            "mask",
        ),
        (lambda: CRF(2).decode(torch.zeros(3, 1, 2), torch.zeros(3, 1).bool()), "one at least"),
        (lambda: CRF(2).decode(torch.zeros(0, 1, 2)), "a frame at least"),
        (lambda: CRF(2)(torch.zeros(1, 1, 2), torch.zeros(1, 1).long(), None, "max"), "reduction"),
        (lambda: SemiMarkovCRF(2)(torch.zeros(1, 3, 2, 2), []), "as many lists"),
        (lambda: SemiMarkovCRF(2)(torch.zeros(1, 3, 2, 2), [[(0, 2)]]), "3 frames, its segments 2"),
        (lambda: SemiMarkovCRF(2)(torch.zeros(1, 3, 2, 2), [[(0, 3)]]), "tag 0 for 3"),
        (lambda: SemiMarkovCRF(2).decode(torch.zeros(1, 3, 2, 5)), "with 2 tags"),
    ],
)
def test_wrong_input(work, message):
    with pytest.raises(ValueError, match=message):
        work()


# Semi-Markov


def segmentations(length, longest):
    if length == 0:
        yield []
    for duration in range(1, min(length, longest) + 1):
        for rest in segmentations(length - duration, longest):
            yield [duration, *rest]


def all_segments(crf, scores, length):
    """All ways to cut and tag an item, scores [frames, durations, tags]."""
    for durations in segmentations(length, scores.shape[1]):
        begins = list(itertools.accumulate(durations, initial=0))
        for tags in itertools.product(range(2), repeat=len(durations)):
            seen = sum(scores[at, d - 1, tag].item() for at, d, tag in zip(begins, durations, tags))
            yield list(zip(tags, durations)), seen + score_of(crf, tags)


def test_semi_markov_against_all_segmentations():
    torch.manual_seed(2)
    crf = SemiMarkovCRF(2, dtype=torch.float64, allowed=torch.tensor([[True, True], [True, False]]))
    for parameter in crf.parameters():
        torch.nn.init.normal_(parameter)
    scores = torch.randn(2, 5, 3, 2, dtype=torch.float64)
    lengths = torch.tensor([5, 2])
    given = [[(0, 2), (1, 3)], [(1, 1), (0, 1)]]
    found, best = crf(scores, given, lengths, "none"), crf.decode(scores, lengths)
    marginals, wanted = crf.marginals(scores, lengths), torch.zeros_like(scores)
    for item, length in enumerate(lengths.tolist()):
        every = list(all_segments(crf, scores[item], length))
        total = log_sum([s for _, s in every])
        (own,) = (s for segments, s in every if segments == given[item])
        assert found[item].item() == pytest.approx(own - total)
        assert best[item] == max(every, key=lambda pair: pair[1])[0]
        for segments, score in every:
            at = 0
            for tag, duration in segments:
                wanted[item, at, duration - 1, tag] += math.exp(score - total)
                at += duration
    torch.testing.assert_close(marginals, wanted)
    free = scores.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda s: crf(s, given, lengths, "none"), free)
