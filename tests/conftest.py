"""One thread and one seed for every test: results repeat, and a busy machine does not matter."""

from __future__ import annotations

import os

import emulated
import pytest
import torch
from emulated import emulated_only as emulated_only
from emulated import on_gpu as on_gpu
from hypothesis import HealthCheck, Phase, settings

settings.register_profile(
    "gtnet",
    deadline=None,
    # The soak draws others, for as long as it is given; an emulated processor is given fewer.
    max_examples=int(os.environ.get("GTNET_EXAMPLES", "25")),
    derandomize=True,
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("gtnet")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--device",
        choices=list(emulated.KEYS),
        default="emulated",
        help="where tests of CUDA kernels run them: emulated in one of two ways, or on a GPU",
    )


def pytest_configure(config: pytest.Config) -> None:
    emulated.choose(config.getoption("--device"))


@pytest.fixture(autouse=True)
def _repeatable():
    torch.set_num_threads(1)
    torch.manual_seed(0)
