"""Units that are held, and what that changes."""

import json
import re
from pathlib import Path

import pytest
import torch
from refusals import assert_refused
from torch import Tensor, nn
from trainers import small_model

from seqmodels import (
    GRU,
    LSTM,
    RWKV7,
    Hybrid,
    LanguageModel,
    MinGRU,
    MultiplicativeLSTM,
    Sequential,
    TextDataModule,
    Transformer,
    as_backbone,
    fit,
)
from seqmodels.analysis.ablation import compare, constant, continuation, nats, replaced, situations
from seqmodels.analysis.character_labels import PROSE, labels
from seqmodels.batch import BOS
from seqmodels.cli.ablated_units import prompt_of
from seqmodels.cli.main import main
from seqmodels.cli.neurons import neurons
from seqmodels.data import Tokenizer
from seqmodels.decoding import Sampling
from seqmodels.nn import Backbone

TEXTS = ['a "bc" d\n' * 7, "x", 'e "f" gg\n' * 5]
NETWORKS = {
    "lstm": (lambda: LSTM(6, 5, num_layers=2), "1.c.3"),
    "lstm hidden": (lambda: LSTM(6, 5, num_layers=2), "2.h.1"),
    "gru": (lambda: GRU(6, 5), "1.h.0"),
    "mlstm": (lambda: MultiplicativeLSTM(6, 5), "1.c.2"),
    "mingru": (lambda: MinGRU(6, 5), "1.h.2"),
    "transformer": (lambda: Transformer(8, 2, 2), "1.3"),
    "hybrid": (lambda: Hybrid(8, "MinGRU,attention", 2), "1.h.3"),
    "rwkv7": (lambda: RWKV7(8, 1, 2), "2.h.3"),
    "sequential": (lambda: Sequential([GRU(6, 6), Transformer(6, 1, 1)]), "1.1.h.2"),
}


def model(backbone: Backbone) -> LanguageModel:
    torch.manual_seed(0)
    task = LanguageModel(backbone, Tokenizer.char(TEXTS)).eval()
    for parameter in task.parameters():
        nn.init.normal_(parameter, std=0.4)
    return task


def step_by_step(task: LanguageModel, text: str) -> list[float]:
    """Nats of each token, one position of the network at a time."""
    state, found, before = None, [], BOS
    for token in task.tokenizer.encode(text):
        with torch.inference_mode():
            logits, state = task.step(torch.tensor([before]), state)
        found.append(float(-logits.log_softmax(-1)[0, token]))
        before = token
    return found


@pytest.mark.parametrize("name", NETWORKS)
def test_texts_are_read_as_step_by_step(name: str) -> None:
    """With the unit as it is, with its own value in its place, and held."""
    make, unit = NETWORKS[name]
    torch.manual_seed(0)
    task = model(make())
    untouched = nats(task, TEXTS)
    torch.testing.assert_close(untouched, torch.tensor([x for text in TEXTS for x in step_by_step(task, text)]))
    seen = list[Tensor]()

    def itself(own: Tensor) -> Tensor:
        seen.append(own)
        return own.clone()

    with replaced(task.backbone, unit, itself):
        torch.testing.assert_close(nats(task, TEXTS), untouched)
    assert seen
    with replaced(task.backbone, unit, constant(0.7)):
        ablated = nats(task, TEXTS)
        expected = [x for text in TEXTS for x in step_by_step(task, text)]
    torch.testing.assert_close(ablated, torch.tensor(expected))
    assert not torch.allclose(ablated, untouched, atol=1e-4)
    assert torch.equal(nats(task, TEXTS), untouched)  # all is as it was


def test_a_cell_state_is_held_between_steps() -> None:
    """By the contract alone: the state that a step returns is changed before the next one."""
    task = model(LSTM(6, 5, num_layers=2))
    state, expected, before = None, [], BOS
    for token in task.tokenizer.encode(TEXTS[0]):
        with torch.inference_mode():
            logits, state = task.step(torch.tensor([before]), state)
            state[0][1][:, 3] = 0.7  # type: ignore[index]
        expected.append(float(-logits.log_softmax(-1)[0, token]))
        before = token
    with replaced(task.backbone, "1.c.3", constant(0.7)):
        torch.testing.assert_close(nats(task, TEXTS[:1]), torch.tensor(expected))


def test_a_hidden_unit_is_held_in_all_that_reads_it() -> None:
    task = model(GRU(6, 5))
    with torch.no_grad():
        task.head.weight.zero_()[:, 2] = torch.linspace(-3, 3, task.tokenizer.vocab_size)
    with replaced(task.backbone, "1.h.2", constant(0.0)):
        torch.testing.assert_close(nats(task, TEXTS), _of_bias(task))
    assert not torch.allclose(nats(task, TEXTS), _of_bias(task))


def _of_bias(task: LanguageModel) -> Tensor:
    ids = [token for text in TEXTS for token in task.tokenizer.encode(text)]
    return -task.head.bias.detach().log_softmax(-1)[ids]


def test_text_is_the_same_until_the_unit_is_held() -> None:
    task = model(LSTM(6, 5))
    written = "".join(task.generate("a", max_tokens=60, seed=3))
    assert continuation(task, "a", 60, Sampling(), 3) == written
    with replaced(task.backbone, "1.h.3", lambda own: own):
        assert continuation(task, "a", 60, Sampling(), 3) == written
    with replaced(task.backbone, "1.h.3", constant(5.0)):
        assert continuation(task, "a", 60, Sampling(), 3) != written
    short = model(Transformer(8, 1, 2, context=16, positions="learned"))
    assert len(continuation(short, "a" * 40, 300, Sampling(), 0)) <= 8


def latch() -> LanguageModel:
    """An LSTM whose first unit is turned by quotation marks, and whose head tells inside from outside by it."""
    texts = ['ab"cd"' * 30]
    tokenizer = Tokenizer.char(texts)
    size = tokenizer.vocab_size
    task = LanguageModel(LSTM(size, 2), tokenizer).eval()
    kernel = task.backbone.layers[0].kernel  # type: ignore[index,union-attr]
    mark, inside, outside = (tokenizer.encode(text) for text in ('"', "cd", "ab"))
    with torch.no_grad():
        task.embedding.weight.copy_(torch.eye(size))
        for parameter in kernel.parameters():
            parameter.zero_()
        task.head.weight.zero_()
        bias, inputs = kernel.bias_ih_l0.view(4, 2), kernel.weight_ih_l0.view(4, 2, size)
        bias[:, 0] = torch.tensor([-20.0, 20, 1, 20])  # i f g o
        inputs[0, 0, mark], inputs[1, 0, mark] = 40, -40
        kernel.weight_hh_l0.view(4, 2, 2)[2, 0, 0] = -20
        task.head.weight[inside, 0], task.head.weight[outside, 0] = 8, -8
    return task


def test_the_unit_that_carries_the_label_loses_it() -> None:
    task, texts = latch(), ['ab"cd"' * 30]
    label = labels(texts, {"quotation": PROSE["quotation"]})
    where = situations(task, texts, label["quotation"])
    assert {name: int(here.sum()) for name, here in where.items()} == {
        "inside": 60, "outside": 59, "begins": 30, "ends": 30,
    }  # fmt: skip
    assert [int(where[name].nonzero()[0]) for name in ("begins", "ends")] == [2, 5]  # the marks themselves
    untouched = nats(task, texts)
    with replaced(task.backbone, "1.h.0", constant(0.0)):
        blind = {loss.where: loss for loss in compare(untouched, nats(task, texts), where)}
    with replaced(task.backbone, "1.h.1", constant(0.0)):  # one that carries nothing
        same = {loss.where: loss for loss in compare(untouched, nats(task, texts), where)}
    assert blind["inside"].ablated > blind["inside"].untouched + 0.5
    assert blind["everywhere"].tokens == 180
    assert all(loss.ablated == pytest.approx(loss.untouched) for loss in same.values())


def test_situations_of_numbers_and_tokens() -> None:
    texts = ["(a)b", "((c"]
    depth = {"depth": PROSE["brackets"]}
    task = LanguageModel(GRU(6, 5), Tokenizer.char(texts))
    where = situations(task, texts, labels(texts, depth)["depth"])
    assert {name: here.nonzero().squeeze(1).tolist() for name, here in where.items()} == {
        "stays": [1, 3, 6], "rises": [5], "falls": [2],
    }  # fmt: skip
    words = LanguageModel(GRU(6, 5), Tokenizer.word(["a bb c"]))
    capital = labels(["a bb c"], {"late": lambda text: [False, False, True, True, True, True]})["late"]
    assert situations(words, ["a bb c"], capital)["begins"].tolist() == [False, True, False]


def test_the_prompt_ends_where_a_label_holds() -> None:
    passage = "first line\n" * 20
    values = [float(100 <= place < 150) for place in range(len(passage))]
    prompt = prompt_of(passage, values, True)
    assert passage.startswith(prompt) or prompt in passage
    assert len(prompt) == 104
    assert prompt_of("ab", [0.0, 1.0], True) == "ab"
    assert prompt_of("abcd", [0.0, 1, 2, 3], False) == "abc"


class Own(nn.Module):
    """A module with units of its own names."""

    input_size = output_size = 4

    def forward(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return x, x[:, -1]

    def traced(self, x: Tensor, state: Tensor | None = None) -> None:
        raise NotImplementedError


def test_what_cannot_be_held_is_refused() -> None:
    def hold(network: Backbone) -> None:
        with replaced(network, "1.h.3", constant(0)):
            pass

    assert_refused("the unit '1.h.3' of Own cannot be held", hold, as_backbone(Own)())
    assert_refused("the unit '1.h.3' of Transformer cannot be held", hold, Transformer(8, 1, 2))


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = tmp_path / "text.txt"
    text.write_text("".join(TEXTS) * 8)
    data = TextDataModule(str(text), length=8, batch_size=2, carry=True)
    fit(small_model(data), data, max_steps=1, validations=1, runs=str(tmp_path / "runs"))
    run = next((tmp_path / "runs" / "language_model").iterdir())
    main(["neurons", str(run), "--label", "quotation", "--ablate", "mean", "--data", str(text)])
    told = capsys.readouterr().out
    assert re.search(r"^quotation +1\.[hc]\.\d+ +AUC( +\d\.\d{3}){5}$", told, re.MULTILINE)
    assert re.search(r"^ends +\d+( +\d+\.\d{4}){2} +[+-]\d\.\d{4}$", told, re.MULTILINE)
    assert "texts of random seed 0" in told
    (kept,) = json.loads((run / "result.json").read_text())["neurons"].values()
    assert kept["quotation"].keys() >= {"probe", "probe_untrained", "nats_ends", "nats_ends_ablated", "held_at"}
    neurons(str(run), unit=["1.c.3", "1.h.2"], label=["quotation"], ablate="zero", data=str(text))
    told = capsys.readouterr().out
    assert "1.c.3 held at zero: quotation" in told
    assert "linear probe" not in told
    kept = list(json.loads((run / "result.json").read_text())["neurons"].items())[-1]
    assert kept[0].endswith(", 1.c.3 1.h.2, units held at zero")
    other = ({"1.c.3", "1.h.2"} - {kept[1]["quotation"]["unit"]}).pop()
    assert kept[1][f"quotation {other}"]["nats_inside"] == kept[1]["quotation"]["nats_inside"]
    assert_refused("--seed was given -1", neurons, str(run), ablate="zero", seed=-1)
