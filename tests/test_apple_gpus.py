"""What can be tried of Apple GPUs without one: they are named, and nothing that runs on them asks for float64."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from refusals import assert_refused
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from seqmodels import GRU, Hybrid, LanguageModel, Sampling, TextDataModule, Transformer, environment, fit, load
from seqmodels.environment import choose_accelerator, choose_devices
from seqmodels.nn import Backbone, MinGRU


class SinglePrecision(TorchDispatchMode):
    """Refuse double precision, as Apple GPUs do."""

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        found = function(*args, **(kwargs or {}))
        from_numpy = function is torch.ops.aten.lift_fresh.default  # on the host, before it goes to the device
        if not from_numpy and any(
            isinstance(one, torch.Tensor) and one.dtype == torch.float64 for one in tree_leaves(found)
        ):
            raise TypeError(f"{function} gave float64")
        return found


NETWORKS: dict[str, Callable[[], Backbone]] = {
    "GRU": lambda: GRU(8, 8),
    "MinGRU": lambda: MinGRU(8, 8),
    "Transformer": lambda: Transformer(8, num_layers=1, num_heads=2, context=32),
    "Hybrid": lambda: Hybrid(8, "LSTM,attention", num_heads=2, context=32),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_nothing_needs_double_precision(
    name: str, text_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "SINGLE_ONLY", {"cpu"})
    monkeypatch.setattr("seqmodels.tasks.base.SINGLE_ONLY", {"cpu"})
    calls = []
    for step in ("training_step", "validation_step", "on_before_optimizer_step"):
        original = getattr(LanguageModel, step)

        def strict(self: LanguageModel, *given: Any, original: Any = original) -> Any:
            calls.append(original.__name__)
            with SinglePrecision():
                return original(self, *given)

        monkeypatch.setattr(LanguageModel, step, strict)
    data = TextDataModule(str(text_file), length=16, batch_size=4)
    run = fit(LanguageModel(NETWORKS[name](), data.tokenizer), data, max_steps=3, validations=2, runs=str(tmp_path))
    assert set(calls) == {"training_step", "validation_step", "on_before_optimizer_step"}
    model = load(run)
    with SinglePrecision():
        assert "".join(model.generate("the", max_tokens=5, seed=1, sampling=Sampling(top_p=0.9)))
        assert next(iter(model.score(["the"]))).nats > 0


def test_a_number_of_single_precision_never_draws_beyond_the_vocabulary(monkeypatch: pytest.MonkeyPatch) -> None:
    """In float32 the largest random numbers round to 1."""
    monkeypatch.setattr(environment, "SINGLE_ONLY", {"cpu"})
    numbers = torch.tensor([1 - 2**-53, 1 - 2**-30], dtype=torch.float64)
    for kind in (numbers, numbers.float()):
        logits = torch.zeros(2, 5, dtype=kind.dtype)
        assert Sampling().draw(logits, kind).tolist() == [4, 4]


def test_mps_is_named_where_it_is_and_refused_where_it_is_not(
    monkeypatch: pytest.MonkeyPatch, text_file: Path, tmp_path: Path
) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert_refused("torch finds no Apple GPU here; give cpu", choose_accelerator, "mps")
    assert_refused("choose auto, cpu, gpu or mps", choose_accelerator, "tpu")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert choose_accelerator("mps") == "mps"
    assert choose_accelerator() != "mps"
    for devices in (1, "1", "auto", -1, "-1"):
        assert choose_devices("mps", devices) == [0]
    assert_refused("there is one Apple GPU; give 1", choose_devices, "mps", 2)
    data = TextDataModule(str(text_file), length=16, batch_size=4)
    model = LanguageModel(GRU(8, 8), data.tokenizer)
    settings = {"accelerator": "mps", "precision": "64-true", "runs": str(tmp_path)}
    assert_refused("Apple GPUs have no double precision", fit, model, data, max_steps=1, **settings)
    assert not list(tmp_path.iterdir())
