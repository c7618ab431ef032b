"""Latent-variable models: energies minimized and marginalized, and what is learnt from signals."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.autograd import gradcheck

import gtnet
from gtnet.latent import (
    L1,
    LISTA,
    VAE,
    Dictionary,
    Gaussian,
    GroupL1,
    LatentEnergy,
    PredictiveEncoder,
    SparseCoding,
    dead_atoms,
    fit,
    sparse_code,
)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def double(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def linear_gaussian(W: torch.Tensor, lam: float = 0.7) -> LatentEnergy:
    return LatentEnergy(lambda z: z @ W.T, Gaussian(), lam=lam, shape=(W.shape[1],))


def test_the_least_energy_of_a_gaussian() -> None:
    W, y = double(5, 3), double(4, 5)
    model = linear_gaussian(W)
    exact = torch.linalg.solve(W.T @ W + 0.7 * torch.eye(3), W.T @ y.T).T
    assert torch.allclose(model.infer(y, tol=1e-10), exact, atol=1e-6)


@pytest.mark.parametrize("beta", [0.5, 2.0])
def test_the_free_energy_of_a_gaussian(beta: float) -> None:
    W, y = double(5, 3), double(4, 5)
    model = linear_gaussian(W)
    # exp(-βE) is N(y; Wz, 1/β) · N(z; 0, 1/(βλ)) without their constants.
    covariance = (torch.eye(5, dtype=W.dtype) + W @ W.T / 0.7) / beta
    log_p = torch.distributions.MultivariateNormal(y.new_zeros(5), covariance).log_prob(y)
    constants = 2.5 * math.log(2 * math.pi / beta) + 1.5 * math.log(2 * math.pi / (0.7 * beta))
    exact = -(log_p + constants) / beta
    assert torch.allclose(model.free_energy(y, beta=beta, tol=1e-9), exact)
    generator = torch.Generator().manual_seed(0)
    sampled = model.free_energy(
        y, beta=beta, method="importance", samples=4000, generator=generator
    )
    assert torch.allclose(sampled, exact, atol=0.1)


def test_codes_and_paths_read_alike() -> None:
    y, at = double(3, 2), torch.linspace(-6, 6, 301, dtype=torch.float64)
    W = double(2, 1)
    for regularizer, method in ((Gaussian(), "laplace"), (L1(), "importance")):
        model = LatentEnergy(lambda z: z @ W.T, regularizer, lam=0.8, shape=(1,))
        # A graph whose paths are the codes of a grid.
        energies = torch.stack([model.energy(y, z.expand(3, 1)) for z in at], 1)
        graphs = gtnet.Emissions(-energies[:, None, :]) @ gtnet.Graph(
            [0] * 301, [1] * 301, [*range(301)], accept=1
        ).to(torch.float64)
        for beta in (1.0, 4.0):
            volume = math.log(0.04) / beta
            discrete = gtnet.free_energy(graphs, beta) - volume
            generator = torch.Generator().manual_seed(0)
            free = model.free_energy(y, beta=beta, method=method, samples=4000, generator=generator)
            assert torch.allclose(free, discrete, atol=0.04)
        least = model.free_energy(y, beta=math.inf)
        assert torch.allclose(least, -gtnet.viterbi_score(graphs), atol=2e-3)


def test_free_energies_follow_what_they_depend_on() -> None:
    W, y = double(3, 2).requires_grad_(), double(2, 3).requires_grad_()

    def free(W, y, beta):
        model = LatentEnergy(lambda z: (z @ W.T).tanh(), Gaussian(), lam=0.7, shape=(2,))
        return model.free_energy(y, beta=beta, tol=1e-10)

    beta = torch.tensor(1.5, dtype=torch.float64, requires_grad=True)
    assert gradcheck(free, (W, y, beta), atol=1e-5, fast_mode=True)
    assert gradcheck(lambda W, y: free(W, y, math.inf), (W, y), atol=1e-5, fast_mode=True)


def test_corners_are_met_by_descent_as_by_fista() -> None:
    W, y = double(6, 9), double(4, 6)
    for regularizer in (L1(), GroupL1(3), L1(nonnegative=True)):
        model = LatentEnergy(lambda z: z @ W.T, regularizer, lam=0.6, shape=(9,))
        z = model.infer(y, tol=1e-7)
        same = sparse_code(y, W, 0.6, regularizer=regularizer, tol=1e-9)
        assert torch.allclose(model.energy(y, z), model.energy(y, same), rtol=1e-6)
    with pytest.raises(ValueError, match="has corners, and Laplace needs curvature"):
        model.free_energy(y)


def test_what_is_known_conditions_the_decoder() -> None:
    W, y, x = double(4, 2), double(3, 4), double(3, 2)
    model = LatentEnergy(
        lambda known, z: known + z @ W.T,
        Gaussian(),
        lambda y: y[:, :2],
        predictor=lambda x: x @ W.T,
        lam=0.1,
        pull=0.5,
    )
    z = model.infer(y, x, tol=1e-10)
    left = 0.6 * torch.eye(2, dtype=W.dtype) + W.T @ W
    exact = torch.linalg.solve(left, ((y - x @ W.T) @ W + 0.5 * y[:, :2]).T).T
    assert torch.allclose(z, exact, atol=1e-6)
    assert torch.equal(model.encode(y), y[:, :2])


def test_several_starts_find_the_lower_of_two_minima() -> None:
    def cost(y, guess):
        return ((guess.square() - 1).square() + 0.3 * guess).sum(1)

    model = LatentEnergy(lambda z: z, Gaussian(), cost=cost, lam=0.0, shape=(1,))
    y = torch.zeros(2, 1)
    start = torch.full((2, 1), 0.9)
    generator = torch.Generator().manual_seed(0)
    assert bool((model.infer(y, start=start) > 0.5).all())
    assert bool((model.infer(y, start=start, starts=8, generator=generator) < -0.5).all())


def test_what_an_energy_cannot_say_is_named() -> None:
    model = LatentEnergy(lambda z: 0 * z, Gaussian(), lam=0.0, shape=(2,))
    y = torch.zeros(1, 2)
    with pytest.raises(ValueError, match="the energy is flat around the code of item 0"):
        model.free_energy(y)
    with pytest.raises(ValueError, match="must be positive"):
        model.free_energy(y, beta=0)
    with pytest.raises(ValueError, match="shape of codes is not known"):
        LatentEnergy(lambda z: z).infer(y)
    with pytest.raises(ValueError, match="needs an encoder"):
        model.encode(y)
    with pytest.raises(ValueError, match="side by side"):
        VAE(nn.Linear(2, 3), nn.Linear(2, 2)).loss(y)
    with pytest.raises(ValueError, match="dense dictionary"):
        LISTA(torch.randn(3, 1, 5), 0.1)


def made_up(count: int = 400, features: int = 16, atoms: int = 20):
    """Signals of a few hidden atoms each, and the atoms."""
    D = torch.randn(features, atoms)
    D = D / D.norm(dim=0)
    codes = torch.randn(count, atoms) * (torch.rand(count, atoms) < 0.12)
    return codes @ D.T + 0.01 * torch.randn(count, features), D


def test_a_dictionary_is_learnt() -> None:
    signals, hidden = made_up(200)
    model = SparseCoding(Dictionary(16, 20), 0.1, iterations=20)
    losses = fit(model, signals, epochs=6, batch_size=20, rate=0.12)
    assert losses[-1] < 0.75 * losses[0]
    atoms = model.dictionary.atoms
    assert torch.allclose(atoms.norm(dim=0), torch.ones(20))
    by_chance = nn.functional.normalize(torch.randn(16, 20), dim=0)
    near, far = ((hidden.T @ some).abs().amax(1).mean() for some in (atoms, by_chance))
    assert far < 0.62 and near > 0.7
    codes = model.encode(signals)
    assert len(dead_atoms(codes)) == 0 and (codes == 0).float().mean() > 0.5
    again = SparseCoding(Dictionary(16, 20), 0.1, iterations=20)
    again.load_state_dict(model.state_dict())
    assert torch.allclose(again.infer(signals[:3]), codes[:3], atol=1e-5)


@pytest.mark.parametrize("convolutional", [False, True])
def test_an_encoder_learns_to_predict_codes(convolutional: bool) -> None:
    if convolutional:
        signals, dictionary = torch.randn(64, 1, 20), Dictionary(6, 1, 5, stride=2, padding=2)
        filters: nn.Module = nn.Conv1d(1, 6, 5, stride=2, padding=2)
    else:
        signals, dictionary = made_up(200)[0], Dictionary(16, 20)
        filters = nn.Linear(16, 20)
    encoder = PredictiveEncoder(filters, dictionary.num_atoms)
    model = SparseCoding(dictionary, 0.1, encoder=encoder, regularizer=L1())

    def off() -> float:
        z = model.infer(signals)
        with torch.no_grad():
            guess = model.encode(signals)
        return float((z - guess).square().mean() / z.square().mean())

    before = off()
    losses = fit(model, signals, epochs=10, batch_size=32, rate=0.03)
    assert losses[-1] < losses[0] and off() < 0.5 * before
    assert torch.allclose(
        model.loss(signals).mean(), model.energy(signals, model.infer(signals)).mean()
    )
    assert model.decode(model.encode(signals), extent=signals.shape[2:]).shape == signals.shape


def test_lista_begins_as_ista_and_ends_sooner() -> None:
    signals, D = made_up(600)
    lam = 0.1
    network = LISTA(D, lam, steps=3)
    ista = sparse_code(signals, D, lam, method="ista", iterations=4, tol=0)
    assert torch.allclose(network(signals), ista, atol=1e-5)
    codes = sparse_code(signals, D, lam, tol=1e-6)
    fit(network, (signals[:500], codes[:500]), epochs=30, batch_size=50, rate=0.01)
    held_out, truth = signals[500:], codes[500:]
    fista = sparse_code(held_out, D, lam, iterations=4, tol=0)
    learnt, plain = (
        float((z - truth).detach().square().mean()) for z in (network(held_out), fista)
    )
    assert learnt < 0.5 * plain
    assert torch.allclose(network.loss(held_out, truth), network.loss(held_out), atol=0.02)


def test_the_loss_of_noisy_codes_bounds_their_free_energy() -> None:
    W = double(4, 2)
    decoder = nn.Linear(2, 4, bias=False).double()
    with torch.no_grad():
        decoder.weight.copy_(W)
    model = VAE(nn.Linear(4, 4).double(), decoder, noise=0.8)
    y = double(3, 4)
    free = model.free_energy(y, tol=1e-9)
    losses = torch.stack([model.loss(y) for _ in range(300)]).mean(0)
    assert bool((losses + math.log(2 * math.pi) >= free).all())
    # The posterior itself as the ball: the bound is met.
    precision = torch.eye(2, dtype=W.dtype) + W.T @ W / 0.64
    middle = torch.linalg.solve(precision, W.T @ y.T / 0.64).T
    assert torch.allclose(model.infer(y, tol=1e-9), middle, atol=1e-5)


def test_balls_tell_signals_apart() -> None:
    signals = torch.cat([torch.randn(60, 4) * 0.1 + at for at in (-1.0, 1.0)])
    model = VAE(nn.Linear(4, 4), nn.Linear(2, 4), noise=0.3)
    losses = fit(model, signals, epochs=60, batch_size=30, rate=0.02)
    assert losses[-1] < 0.3 * losses[0]
    mean, log_variance = model.ball(signals)
    gap = (mean[:60].mean(0) - mean[60:].mean(0)).norm()
    assert gap > 2 * (log_variance / 2).exp().amin(1).mean()
    assert torch.equal(model.encode(signals), mean)


def test_training_is_the_same_again_and_leaves_other_randomness_alone() -> None:
    signals = torch.randn(40, 4)
    results = []
    for _ in range(2):
        torch.manual_seed(3)
        model = VAE(nn.Linear(4, 4), nn.Linear(2, 4))
        fit(model, signals, epochs=2, seed=1)
        results.append((model.encode(signals), torch.rand(1)))
    assert torch.equal(results[0][0], results[1][0]) and torch.equal(*[r[1] for r in results])
    with pytest.raises(ValueError, match="items"):
        fit(model, signals[:0])
