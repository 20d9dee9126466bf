"""All generators go on where they were; a rank that was not there before draws its own."""

import random

import numpy as np
import pytest
import torch

from seqmodels import InputError
from seqmodels.tasks.training_state import random_states, restore_rank

CPU = torch.device("cpu")


def drawn() -> list[float]:
    return [random.random(), random.gauss(0, 1), np.random.rand(), np.random.randn(), float(torch.rand(()))]


def test_all_go_on() -> None:
    random.gauss(0, 1)  # leaves half a pair behind, as does the next
    np.random.randn()
    states = random_states(CPU)
    first = drawn()
    random.seed(3)
    np.random.seed(3)
    torch.manual_seed(3)
    assert drawn() != first
    restore_rank([states], 0, CPU)
    assert drawn() == first


def test_more_ranks_than_before() -> None:
    states = [random_states(CPU)]
    torch.rand(5)
    states.append(random_states(CPU))
    found = []
    for rank in range(4):
        restore_rank(states, rank, CPU)
        found.append(float(torch.rand(())))
    assert len(set(found)) == 4
    restore_rank(states, 3, CPU)
    assert float(torch.rand(())) == found[3]


@pytest.mark.parametrize(("name", "place"), [("python", 0), ("numpy", 2), ("numpy", 3), ("torch", None)])
def test_states_of_no_generator_are_refused(name: str, place: int | None) -> None:
    states = random_states(CPU)
    if place is None:
        states[name] = states[name][:5]
    else:
        states[name][place] = 1 << 40
    with pytest.raises(InputError, match="cannot be resumed: its random states fit no generator"):
        restore_rank([states], 0, CPU)
