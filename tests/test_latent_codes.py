"""Sparse codes: the least energy, its conditions, its gradient."""

from __future__ import annotations

import pytest
import torch
from sklearn.linear_model import Lasso
from torch.autograd import gradcheck, gradgradcheck

from gtnet.latent import (
    L1,
    Dictionary,
    GroupL1,
    dead_atoms,
    decode,
    duality_gap,
    shrink,
    sparse_code,
    sparse_energy,
)
from gtnet.latent.dictionary import Synthesis

CONVOLUTIONS = [
    ((4, 2, 3), (3, 2, 11), 1, 0),
    ((4, 2, 4), (3, 2, 11), 3, 1),
    ((3, 1, 3, 2), (2, 1, 6, 5), 1, 0),
    ((3, 2, 5, 5), (2, 2, 9, 8), 2, 2),
    ((2, 1, 2, 2, 3), (2, 1, 4, 3, 5), 2, 1),
]
each_convolution = pytest.mark.parametrize(("shape", "signals", "stride", "padding"), CONVOLUTIONS)


def problem(batch: int = 6, features: int = 10, atoms: int = 15, seed: int = 0):
    """Random signals, a random dictionary with unit columns, and λ."""
    torch.manual_seed(seed)
    D = torch.randn(features, atoms, dtype=torch.float64)
    return torch.randn(batch, features, dtype=torch.float64), D / D.norm(dim=0), 0.3


@pytest.mark.parametrize("nonnegative", [False, True])
@pytest.mark.parametrize("method", ["ista", "fista"])
def test_energy_is_that_of_coordinate_descent(method: str, nonnegative: bool) -> None:
    for seed, (features, atoms) in enumerate([(20, 12), (8, 24)]):
        y, D, lam = problem(features=features, atoms=atoms, seed=seed)
        kind = L1(nonnegative=nonnegative)
        options = {"regularizer": kind}
        z = sparse_code(y, D, lam, method=method, iterations=5000, tol=1e-6, **options)
        lasso = Lasso(
            lam / features, fit_intercept=False, tol=1e-10, max_iter=100000, positive=nonnegative
        )
        theirs = torch.tensor(lasso.fit(D.numpy(), y.T.numpy()).coef_)
        ours, peer = (sparse_energy(y, code, D, lam, **options) for code in (z, theirs))
        assert torch.allclose(ours, peer, rtol=1e-4, atol=0)
        gap = duality_gap(y, z, D, lam, **options)
        assert bool((gap <= 1e-6 * y.square().sum(1) / 2).all())
        assert bool((ours - peer <= gap + 1e-12).all())  # the gap is a bound


def test_conditions_of_karush_kuhn_and_tucker() -> None:
    y, D, lam = problem()
    z = sparse_code(y, D, lam, tol=1e-13, iterations=3000)
    force = (y - z @ D.T) @ D
    used = z != 0
    assert 0 < int(used.sum()) < z.numel()
    assert torch.allclose(force[used], lam * z[used].sign(), atol=1e-5)
    assert bool((force[~used].abs() <= lam + 1e-6).all())


def test_fista_falls_with_the_square_of_the_steps() -> None:
    y, D, lam = problem(features=20, atoms=40)
    best = sparse_code(y, D, lam, tol=1e-13, iterations=3000)
    least = sparse_energy(y, best, D, lam)
    far = {}

    def watch(step: int, z: torch.Tensor) -> None:
        far[method, step] = sparse_energy(y, z, D, lam) - least

    for method in ("ista", "fista"):
        sparse_code(y, D, lam, method=method, iterations=200, tol=0, watch=watch)
    curvature = Synthesis("test", D, 1, 0).norm()
    for step in (1, 5, 20, 100, 200):
        bound = 2 * curvature * best.square().sum(1) / (step + 1) ** 2
        assert bool((far["fista", step] <= bound + 1e-12).all())
        assert bool((far["ista", step] <= curvature * best.square().sum(1) / (2 * step)).all())
    assert bool((far["fista", 100] < far["ista", 100]).all())


def test_an_item_does_not_change_another() -> None:
    y, D, lam = problem()
    y[2] = 0
    together = sparse_code(y, D, lam)
    assert torch.equal(together[2], torch.zeros_like(together[2]))
    for item in range(len(y)):
        assert torch.allclose(sparse_code(y[item], D, lam), together[item], atol=1e-12)
    several = sparse_code(y.reshape(2, 3, -1), D, lam)
    assert torch.allclose(several.reshape(6, -1), together, atol=1e-12)
    each = sparse_code(y, D, torch.linspace(0.1, 0.6, 6, dtype=y.dtype))
    assert torch.allclose(each[3], sparse_code(y[3], D, 0.4), atol=1e-12)
    assert sparse_code(y[:0], D, lam).shape == (0, 15)


def test_a_pull_is_an_elastic_net() -> None:
    y, D, lam = problem()
    near = torch.randn(6, 15, dtype=torch.float64)
    z = sparse_code(y, D, lam, near=near, pull=0.5, tol=1e-12, iterations=3000)
    root = 0.5**0.5
    more = torch.cat([D, root * torch.eye(15, dtype=D.dtype)])
    same = sparse_code(torch.cat([y, root * near], 1), more, lam, tol=1e-12, iterations=3000)
    assert torch.allclose(z, same, atol=1e-6)
    gap = duality_gap(y, z, D, lam, near=near, pull=0.5)
    assert bool((gap < 1e-10).all()) and bool((gap > -1e-12).all())


def test_groups_are_used_as_a_whole() -> None:
    y, D, lam = problem()
    group = GroupL1(3)
    z = sparse_code(y, D, 2 * lam, regularizer=group, tol=1e-13, iterations=3000)
    lengths = z.unflatten(1, (5, 3)).norm(dim=2)
    force = ((y - z @ D.T) @ D).unflatten(1, (5, 3))
    used = lengths > 0
    assert 0 < int(used.sum()) < used.numel()
    unit = z.unflatten(1, (5, 3))[used] / lengths[used][:, None]
    assert torch.allclose(force[used], 2 * lam * unit, atol=1e-5)
    assert bool((force[~used].norm(dim=1) <= 2 * lam + 1e-6).all())
    with pytest.raises(ValueError, match="15 atoms are no groups of 4"):
        sparse_code(y, D, lam, regularizer=GroupL1(4))


@each_convolution
def test_convolutions_are_dictionaries_of_shifted_atoms(shape, signals, stride, padding) -> None:
    torch.manual_seed(0)
    D, y = torch.randn(shape, dtype=torch.float64), torch.randn(signals, dtype=torch.float64)
    options = {"stride": stride, "padding": padding}
    synthesis = Synthesis("test", D, stride, padding)
    synthesis.check(y)
    z = torch.randn(synthesis.codes(len(y)), dtype=torch.float64)
    left, right = (synthesis.apply(z) * y).sum(), (z * synthesis.transpose(y)).sum()
    assert torch.allclose(left, right)  # the transpose is one
    assert torch.equal(decode(z, D, extent=y.shape[2:], **options), synthesis.apply(z))
    # The whole matrix, column by column.
    ones = torch.eye(z[0].numel(), dtype=z.dtype).reshape(-1, *z.shape[1:])
    matrix = synthesis.apply(ones).flatten(1).T.contiguous()
    greatest = torch.linalg.matrix_norm(matrix, 2) ** 2
    assert greatest <= synthesis.norm()
    found = sparse_code(y, D, 0.5, tol=1e-6, iterations=500, **options)
    same = sparse_code(y.flatten(1), matrix, 0.5, tol=1e-6, iterations=500)
    energies = (
        sparse_energy(y, found, D, 0.5, **options),
        sparse_energy(y.flatten(1), same, matrix, 0.5),
    )
    assert torch.allclose(*energies, rtol=1e-5)


def test_the_norm_of_convolutions_is_close() -> None:
    torch.manual_seed(0)
    D = torch.randn(8, 1, 5, dtype=torch.float64)
    synthesis = Synthesis("test", D, 1, 0)
    synthesis.check(torch.zeros(1, 1, 200, dtype=D.dtype))
    ones = torch.eye(8 * 196, dtype=D.dtype).reshape(-1, 8, 196)
    exact = torch.linalg.matrix_norm(synthesis.apply(ones).flatten(1), 2) ** 2
    assert exact <= synthesis.norm() <= 1.1 * exact


@pytest.mark.parametrize("regularizer", [L1(nonnegative=True), GroupL1(2)])
def test_implicit_gradient(regularizer) -> None:
    y, D, _ = problem(batch=1, features=3, atoms=6, seed=2)
    lam = torch.tensor([0.4], dtype=torch.float64)
    near = 0.2 * torch.randn(1, 6, dtype=torch.float64)

    def code(y, D, lam, near):
        return sparse_code(
            y, D, lam, near=near, pull=0.3, regularizer=regularizer, tol=1e-13, iterations=80
        )

    inputs = [t.detach().requires_grad_() for t in (y, D, lam, near)]
    assert bool((code(*inputs) != 0).any()) and bool((code(*inputs) == 0).any())
    assert gradcheck(code, inputs, atol=1e-5)


def test_implicit_gradient_without_a_pull_and_of_convolutions() -> None:
    torch.manual_seed(1)
    y, D, lam = problem(batch=1, features=5, atoms=3)
    exact = {"tol": 1e-13, "iterations": 150}
    inputs = (y.requires_grad_(), D.requires_grad_())
    assert gradcheck(
        lambda y, D: sparse_code(y, D, lam, **exact), inputs, atol=1e-5, fast_mode=True
    )
    y, D = torch.randn(1, 1, 6, dtype=torch.float64), torch.randn(2, 1, 3, dtype=torch.float64)
    how = {**exact, "stride": 2, "padding": 1, "pull": 0.1}
    inputs = (y.requires_grad_(), D.requires_grad_())
    assert gradcheck(lambda y, D: sparse_code(y, D, 0.4, **how), inputs, atol=1e-5)


def test_unrolled_gradient_is_that_of_the_steps_and_tends_to_the_implicit_one() -> None:
    y, D, lam = problem(batch=1, features=4, atoms=4)
    inputs = (y.requires_grad_(), D.requires_grad_())

    def steps(y, D):
        return sparse_code(y, D, lam, gradient="unrolled", iterations=3, tol=0)

    assert gradcheck(steps, inputs) and gradgradcheck(steps, inputs, fast_mode=True)
    grads = [
        torch.autograd.grad(
            sparse_code(y, D, lam, gradient=how, iterations=400, tol=1e-13).square().sum(), inputs
        )
        for how in ("implicit", "unrolled")
    ]
    for implicit, unrolled in zip(*grads):
        assert torch.allclose(implicit, unrolled, atol=1e-5)


def test_implicit_gradients_have_no_second_derivative() -> None:
    y, D, lam = problem(batch=1)
    D.requires_grad_()
    (first,) = torch.autograd.grad(sparse_code(y, D, lam).sum(), D, create_graph=True)
    with pytest.raises(RuntimeError, match="no second derivative; take gradient='unrolled'"):
        first.sum().backward()


def test_float32_reaches_its_gap() -> None:
    y, D, lam = problem()
    y, D = y.float(), D.float()
    z = sparse_code(y, D, lam)
    assert z.dtype == torch.float32
    assert bool((duality_gap(y, z, D, lam) <= 1e-4 * y.square().sum(1) / 2 + 1e-6).all())


def test_what_does_not_fit_is_named() -> None:
    y, D, lam = problem()
    for wrong, message in [
        (lambda: sparse_code(y, D.T, lam), r"y has shape \[6, 10\], the dictionary \[15, 10\]"),
        (lambda: sparse_code(y.float(), D, lam), "y is torch.float32"),
        (lambda: sparse_code(y, D, 0.0), "λ must be positive"),
        (lambda: sparse_code(y, D, torch.ones(5)), "5.*values of λ for 6 items"),
        (lambda: sparse_code(y, D, lam, method="newton"), "'newton' is fista or ista"),
        (lambda: sparse_code(y, D, lam, start=y), r"codes are \[6, 15\], got \[6, 10\]"),
        (lambda: sparse_code(y, D.long(), lam), "float32 or float64"),
        (lambda: sparse_code(y, D, lam, stride=2), "none of this dictionary"),
        (lambda: sparse_code(y[:, None], D[:, None], lam), "smaller than an atom|has shape"),
        (lambda: decode(y, D), "15 atoms"),
    ]:
        with pytest.raises(ValueError, match=message):
            wrong()


def test_atoms_keep_length_one_and_dead_ones_are_found() -> None:
    for dictionary, dims in ((Dictionary(10, 15), 0), (Dictionary(4, 2, 3, 3), (1, 2, 3))):
        with torch.no_grad():
            dictionary.weight *= 7
        lengths = torch.linalg.vector_norm(dictionary.atoms, dim=dims)
        assert torch.allclose(lengths, torch.ones_like(lengths))
    assert dead_atoms(torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, -2.0]])).tolist() == [0]
    assert torch.equal(shrink(torch.tensor([-2.0, 0.5, 3.0]), 1.0), torch.tensor([-1.0, 0, 2]))
