"""Eight-bit weights: nearly the same products, and a clear error where they save nothing."""

import contextlib
import io
from pathlib import Path

import pytest
import torch
from refusals import refused
from torch import nn
from torch.testing import assert_close

from seqmodels.cli import engines
from seqmodels.cli.main import main
from seqmodels.data import TextDataModule, Tokenizer
from seqmodels.decoding import Sampling
from seqmodels.errors import InputError
from seqmodels.nn import LSTM, Transformer
from seqmodels.nn.quantization import MIN_WEIGHTS, Int8Linear, for_use, to_int8
from seqmodels.tasks import LanguageModel
from seqmodels.training.fit import fit


def large() -> LanguageModel:
    torch.manual_seed(0)
    return LanguageModel(Transformer(256, 2, 4, context=40), Tokenizer.char(["abcdefgh"])).eval()


@torch.inference_mode()
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("rows", [(1,), (3, 5)])
def test_products_are_nearly_the_same(bias: bool, rows: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    layer, x = nn.Linear(300, 200, bias=bias), torch.randn(*rows, 300)
    layer.weight[7] *= 100  # a row of its own scale
    exact, rounded = layer(x), Int8Linear(layer)(x)
    error = (rounded - exact).norm(dim=tuple(range(x.ndim - 1))) / exact.norm(dim=tuple(range(x.ndim - 1)))
    assert 0 < error.median() < 0.03
    assert error[7] < 0.05


@torch.inference_mode()
def test_a_row_of_zeros_stays_zero() -> None:
    layer = nn.Linear(300, 300)
    layer.weight[1], layer.bias[1] = 0, 0.5
    assert_close(Int8Linear(layer)(torch.randn(4, 300))[:, 1], torch.full((4,), 0.5))


@torch.inference_mode()
def test_steps_are_those_of_the_network() -> None:
    model = large()
    exact = model.step(torch.tensor([5, 6]), None)[0]
    to_int8(model)
    changed = [name for name, part in model.named_modules() if isinstance(part, Int8Linear)]
    assert len(changed) == 2 * 4  # the softmax layer over twelve tokens is too small
    logits, state = model.step(torch.tensor([5, 6]), None)
    assert 0 < (logits - exact).norm() < 0.1 * exact.norm()
    steps = model.steps(None, 2)
    found = steps(torch.tensor([5, 6]))
    kept = ~found.isneginf().all(0)
    assert_close(found[:, kept], logits[:, kept], rtol=1e-3, atol=1e-3)
    following, _ = model.step(torch.tensor([7, 8]), state)
    assert_close(steps(torch.tensor([7, 8]))[:, kept], following[:, kept], rtol=0.02, atol=0.02)


def test_softmax_layer_over_many_tokens() -> None:
    torch.manual_seed(0)
    letters = "".join(chr(0x10000 + number) for number in range(MIN_WEIGHTS // 16))
    model = LanguageModel(LSTM(16, 16), Tokenizer.char([letters])).eval()
    before = "".join(model.generate(max_tokens=20, sampling=Sampling(), seed=1))
    for_use(model, int8=True)
    assert isinstance(model.head, Int8Linear)
    after = "".join(model.generate(max_tokens=20, sampling=Sampling(), seed=1))
    assert len(after) == len(before)
    assert sum(a == b for a, b in zip(before, after, strict=True)) > 10
    assert not set(after) & {"\0"}


def test_what_cannot_be() -> None:
    small = LanguageModel(LSTM(8, 8), Tokenizer.char(["ab"]))
    with pytest.raises(InputError, match=r"no linear layer of this model has 65,536 weights"):
        for_use(small, int8=True)
    with pytest.raises(InputError, match="--bf16 and --int8 were both given"):
        for_use(small, bf16=True, int8=True)


def test_the_command_takes_fewer_bits(text_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = TextDataModule(str(text_file), length=8, batch_size=2)
    model = LanguageModel(LSTM(8, 8), data.tokenizer)
    with contextlib.redirect_stdout(io.StringIO()):
        run = fit(model, data, max_steps=1, runs=str(tmp_path / "runs"), diagnostics=False)
    given: list[dict[str, bool]] = []

    def noted(task: LanguageModel, **how: bool) -> LanguageModel:
        given.append(how)
        return task

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engines, "for_use", noted)
        for flags in ([], ["--int8"], ["--bf16"]):
            main(["generate", str(run), "--max-tokens", "3", *flags])
    assert [(how["bf16"], how["int8"]) for how in given] == [(False, False), (False, True), (True, False)]
    capsys.readouterr()
    main(["generate", str(run), "--max-tokens", "3", "--seed", "1", "--bf16"])
    assert "8 bits save nothing" in refused(capsys, "generate", str(run), "--int8")
