"""Recurrent weights of other programs: each layout against its equation, and weights that are out there."""

import ast
import json
import math
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from packages import package
from refusals import assert_refused
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.testing import assert_close

from seqmodels import Beam, LanguageModel, Translator, load, share
from seqmodels.analysis import contextual
from seqmodels.analysis.activations import activations
from seqmodels.analysis.gates import gates
from seqmodels.analysis.gradient_horizon import gradient_norms
from seqmodels.analysis.spectra import spectra
from seqmodels.batch import BOS, EOS, PAD, UNK, Batch
from seqmodels.cli.main import main
from seqmodels.interop.recurrent_weights import (
    Layer,
    Vocabulary,
    from_keras,
    from_tensorflow,
    from_torch,
    keras_layer,
    language_model,
    network,
    read_weights,
    translator,
)
from seqmodels.nn import GRU, LSTM, RNN, Backbone, Bidirectional, Sequential, check_network
from seqmodels.state import State

Array = NDArray[np.float64]
H, D, T = 5, 3, 7


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def random(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def outputs(layer: Layer, x: Array) -> Array:
    with torch.no_grad():
        return network([layer]).double()(torch.from_numpy(x)[None])[0][0].numpy()


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


# Torch


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("kind", ["RNN", "ReLU", "LSTM", "GRU"])
def test_state_dicts_of_torch(kind: str, layers: int, both: bool) -> None:
    settings: dict[str, Any] = {"nonlinearity": "relu"} if kind == "ReLU" else {}
    theirs = getattr(nn, kind.replace("ReLU", "RNN"))(
        D, H, num_layers=layers, bidirectional=both, batch_first=True, **settings
    )
    tensors = {f"rnn.{name}": tensor for name, tensor in theirs.state_dict().items()}
    ours = network(from_torch(tensors, "rnn."), **settings).double()
    x = random(2, T, D)
    assert_close(ours(x)[0], theirs.double()(x)[0], rtol=0, atol=1e-12)
    expected = {(1, True): Bidirectional, (3, True): Sequential}.get((layers, both))
    assert type(ours) is (expected or {"RNN": RNN, "ReLU": RNN, "LSTM": LSTM, "GRU": GRU}[kind])
    if not both:
        check_network(ours)


def test_cells_and_networks_without_bias() -> None:
    cell = nn.GRUCell(D, H)
    (layer,) = from_torch(cell.state_dict())
    x = random(1, 1, D)
    assert_close(network([layer]).double()(x)[0][:, 0], cell.double()(x[:, 0]))
    bare = nn.LSTM(D, H, bias=False, batch_first=True)
    assert_close(network(from_torch(bare.state_dict())).double()(x)[0], bare.double()(x)[0])


def test_layers_of_several_widths() -> None:
    below, above = nn.LSTM(D, H, batch_first=True), nn.LSTM(H, 2, batch_first=True)
    ours = network([*from_torch(below.state_dict()), *from_torch(above.state_dict())]).double()
    x = random(2, T, D)
    assert_close(ours(x)[0], above.double()(below.double()(x)[0])[0])
    check_network(ours)


# Keras and TensorFlow, by their equations


def keras_lstm(x: Array, kernel: Array, recurrent: Array, bias: Array) -> Array:
    h = c = np.zeros(H)
    found = []
    for one in x:
        i, f, g, o = np.split(one @ kernel + h @ recurrent + bias, 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        found.append(h)
    return np.array(found)


def keras_gru(x: Array, kernel: Array, recurrent: Array, bias: Array) -> Array:
    h, found = np.zeros(H), []
    for one in x:
        z, r, n = np.split(one @ kernel + bias[0], 3)
        z_rec, r_rec, n_rec = np.split(h @ recurrent + bias[1], 3)
        update = sigmoid(z + z_rec)
        h = update * h + (1 - update) * np.tanh(n + sigmoid(r + r_rec) * n_rec)
        found.append(h)
    return np.array(found)


def cudnn(kernel: Tensor, recurrent: Tensor, gates: int) -> tuple[Tensor, Tensor]:
    """Kernels as a CuDNN layer of Keras keeps them: what its own conversion turns back, block by block."""
    blocks = [block.numpy().T.reshape(block.shape, order="C") for block in kernel.chunk(gates, 1)]
    turned = [block.T for block in recurrent.chunk(gates, 1)]
    return torch.from_numpy(np.hstack(blocks)), torch.cat(turned, 1)


def test_keras_lstm() -> None:
    kernel, recurrent, bias, x = random(D, 4 * H), random(H, 4 * H), random(4 * H), random(T, D).numpy()
    expected = keras_lstm(x, kernel.numpy(), recurrent.numpy(), bias.numpy())
    np.testing.assert_allclose(outputs(from_keras(kernel, recurrent, bias), x), expected, atol=1e-6)
    twice = torch.cat([bias - 1, torch.ones(4 * H, dtype=torch.float64)])
    layer = from_keras(*cudnn(kernel, recurrent, 4), twice)
    np.testing.assert_allclose(outputs(layer, x), expected, atol=1e-6)
    plain = from_keras(*cudnn(kernel, recurrent, 4), bias)  # which the shape of the bias alone tells
    assert np.abs(outputs(plain, x) - expected).max() > 0.01


def test_keras_gru() -> None:
    kernel, recurrent, bias, x = random(D, 3 * H), random(H, 3 * H), random(2, 3 * H), random(T, D).numpy()
    expected = keras_gru(x, kernel.numpy(), recurrent.numpy(), bias.numpy())
    np.testing.assert_allclose(outputs(from_keras(kernel, recurrent, bias), x), expected, atol=1e-6)
    layer = from_keras(*cudnn(kernel, recurrent, 3), bias.flatten())
    np.testing.assert_allclose(outputs(layer, x), expected, atol=1e-6)
    zero = keras_gru(x, kernel.numpy(), recurrent.numpy(), np.zeros((2, 3 * H)))
    np.testing.assert_allclose(outputs(from_keras(kernel, recurrent, reset_after=True), x), zero, atol=1e-6)


def test_keras_simple_rnn() -> None:
    kernel, recurrent, bias, x = random(D, H), random(H, H), random(H), random(T, D).numpy()
    h, expected = np.zeros(H), []
    for one in x:
        h = np.tanh(one @ kernel.numpy() + h @ recurrent.numpy() + bias.numpy())
        expected.append(h)
    np.testing.assert_allclose(outputs(from_keras(kernel, recurrent, bias), x), np.array(expected), atol=1e-6)


def test_gates_in_the_order_of_tensorflow_and_elmo() -> None:
    kernel, bias, x = random(D + H, 4 * H), random(4 * H), random(T, D).numpy()
    h = c = np.zeros(H)
    expected = []
    for one in x:
        i, j, f, o = np.split(np.concatenate([one, h]) @ kernel.numpy() + bias.numpy(), 4)
        c = sigmoid(f + 1) * c + sigmoid(i) * np.tanh(j)
        h = sigmoid(o) * np.tanh(c)
        expected.append(h)
    np.testing.assert_allclose(outputs(from_tensorflow(kernel, bias), x), np.array(expected), atol=1e-6)


# Files


def test_files(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    tensors = {"a/kernel:0": torch.randn(2, 3), "b": torch.randn(4)}
    save_file(tensors | {"half": torch.ones(2, dtype=torch.bfloat16), "ids": torch.arange(3)}, tmp_path / "s")
    np.savez_compressed(tmp_path / "n.npz", **{name: tensor.numpy() for name, tensor in tensors.items()})
    with h5py.File(tmp_path / "h.h5", "w") as file:
        for name, tensor in tensors.items():
            file[name] = tensor.numpy()
        file["elsewhere"] = h5py.ExternalLink("other.h5", "/x")
        file["text"] = "none"
    for name in ("s", "n.npz", "h.h5"):
        found = read_weights(tmp_path / name)
        assert found.keys() == tensors.keys() | ({"half"} if name == "s" else set())
        assert all(torch.equal(found[key], tensor) for key, tensor in tensors.items())


def test_files_that_are_refused(tmp_path: Path) -> None:
    torch.save({"weight": torch.ones(2)}, tmp_path / "p.bin")
    assert_refused(r"p\.bin.*no checkpoint of torch.save", read_weights, tmp_path / "p.bin")
    (tmp_path / "x").write_bytes(b"\x80\x04K\x01.")
    assert_refused("neither safetensors nor npz nor HDF5; others could run code", read_weights, tmp_path / "x")
    np.savez(tmp_path / "o.npz", a=np.array([{}], dtype=object))
    assert_refused("Object arrays cannot be loaded", read_weights, tmp_path / "o.npz")
    with zipfile.ZipFile(tmp_path / "b.npz", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a.npy", bytes(1 << 22))
    assert_refused("expected at most 10,000 tensors and 64 times", read_weights, tmp_path / "b.npz")
    large = np.lib.format.header_data_from_array_1_0(np.ones(2)) | {"shape": (1 << 40,)}
    with zipfile.ZipFile(tmp_path / "l.npz", "w") as file, file.open("a.npy", "w") as entry:
        np.lib.format.write_array_header_1_0(entry, large)
    assert_refused("said to have shape", read_weights, tmp_path / "l.npz")
    save_file({"a": torch.ones(100)}, tmp_path / "t")
    (tmp_path / "t").write_bytes((tmp_path / "t").read_bytes()[:-9])
    assert_refused("holds no weights that can be read", read_weights, tmp_path / "t")
    save_file({"ids": torch.arange(3)}, tmp_path / "i")
    assert_refused("no floating-point tensors", read_weights, tmp_path / "i")
    assert_refused("No such file", read_weights, tmp_path / "none")


# Models


LETTERS = ["<pad>", *"abcd", "<s>", "?"]


def torch_model(kind: type[nn.RNNBase] = nn.LSTM) -> tuple[nn.Embedding, nn.RNNBase, nn.Linear, dict[str, Tensor]]:
    parts = nn.Embedding(7, D), kind(D, H, num_layers=2, batch_first=True), nn.Linear(H, 7)
    names = zip(("encoder", "rnn", "decoder"), parts, strict=True)
    return *parts, {f"{name}.{key}": t for name, part in names for key, t in part.state_dict().items()}


def letters() -> Vocabulary:
    return Vocabulary(LETTERS, pad="<pad>", bos="<s>", eos="<s>", unk="?")


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_language_models_by_their_usual_names(kind: type[nn.RNNBase]) -> None:
    embedding, rnn, head, tensors = torch_model(kind)
    task = language_model(tensors, letters())
    assert not task.training
    theirs = torch.tensor([[5, 1, 3, 2, 6, 4]])
    ours = torch.tensor([[BOS, *task.tokenizer.encode("acbxd")]])
    assert ours.tolist() == [[BOS, 4, 6, 5, UNK, 7]]
    expected = head(rnn(embedding(theirs))[0])
    logits, _ = task(ours)
    assert_close(logits[..., [PAD, 4, 5, 6, 7, EOS, UNK]], expected)
    expected_nats = -expected[0, :4].log_softmax(-1)[range(4), [1, 3, 2, 6]].sum()
    assert task.score(["acb?"])[0].nats == pytest.approx(expected_nats.item(), abs=1e-5)
    assert "?" not in "".join(task.generate("ab", max_tokens=200, seed=1))


def test_the_end_is_the_beginning_and_counts_once() -> None:
    *_, tensors = torch_model()
    logits, _ = language_model(tensors, letters())(torch.tensor([[BOS]]))
    assert logits[0, 0, BOS] == -math.inf
    assert logits[0, 0].isfinite().sum() == len(LETTERS)


def test_names_that_are_given_and_tied_matrices() -> None:
    *_, tensors = torch_model()
    square = {"my.table": torch.randn(7, H), **{f"net.{key}": t for key, t in nn.GRU(H, H).state_dict().items()}}
    task = language_model(square, letters(), network="net.", embedding="my.table", head="my.table")
    assert task.head.weight is task.embedding.weight
    stack = network(from_torch(tensors, "rnn."))
    assert language_model(tensors, letters(), network=stack).backbone is stack


def test_translators_start_from_the_state_of_the_encoder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two layers with cell states, sources of unequal length, against modules of torch."""
    enc, dec, head = nn.LSTM(D, H, 2, batch_first=True), nn.LSTM(D, H, 2, batch_first=True), nn.Linear(H, 7)
    tables = nn.Embedding(7, D), nn.Embedding(7, D)
    tensors = {
        f"{name}.{key}": t for name, m in (("e", enc), ("d", dec), ("h", head)) for key, t in m.state_dict().items()
    }
    tensors |= {"s": tables[0].weight.data, "t": tables[1].weight.data}
    names = {"encoder": "e.", "decoder": "d.", "source_embedding": "s", "embedding": "t", "head": "h.weight"}
    task = translator(tensors, letters(), letters(), **names)
    texts = ["abcd", "dd", "a"]
    for text, found in zip(texts, task.translate(texts, Beam(size=1, max_length=6)), strict=True):
        ids = [*(LETTERS.index(letter) for letter in text), 5]
        _, state = enc(tables[0](torch.tensor([ids])))
        written, token = "", 5
        while len(written) < 6:
            y, state = dec(tables[1](torch.tensor([[token]])), state)
            token = int(head(y)[0, 0, [1, 2, 3, 4, 5]].argmax()) + 1
            if token == 5:
                break
            written += LETTERS[token]
        assert found[0].text == written
    share(task, tmp_path / "shared")
    loaded = load(tmp_path / "shared")
    assert isinstance(loaded, Translator)
    ids = torch.tensor([[BOS, *loaded.tokenizer.encode("abc"), EOS]])
    norms = gradient_norms(loaded, Batch(ids[:, :-1], ids[:, 1:], source=ids[:, 1:]))
    assert all(float(norms[name].nan_to_num().max()) > 0 for name in ("x", "source"))
    assert activations(loaded, ["abcad", "d"]).values.shape == (6, 2 * 2 * H)
    (tmp_path / "text.txt").write_text("abcd abdc\nab\n" * 20)
    for words in (["neurons", "--data", str(tmp_path / "text.txt"), "--label", "boundary"], ["report"]):
        main([words[0], str(tmp_path / "shared"), *words[1:]])
        assert capsys.readouterr().out
    assert (tmp_path / "shared" / "report.html").stat().st_size > 1000


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_inside_of_a_model_that_was_shared(
    kind: type[nn.RNNBase], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a folder it is a model like any other: generated from, scored, looked into."""
    *_, tensors = torch_model(kind)
    made = language_model(tensors, letters())
    task = load(share(made, tmp_path / "shared"))
    assert isinstance(task, LanguageModel)
    ids = torch.tensor([[BOS, *task.tokenizer.encode("abcadbcd")]])
    assert torch.equal(task(ids)[0], made(ids)[0])
    assert activations(task, ["abcad", "d"]).values.shape == (6, (4 if kind is nn.LSTM else 2) * H)
    assert gates(task, Batch(ids, ids)).keys() >= ({"1.f", "2.o"} if kind is nn.LSTM else {"1.z", "2.r"})
    assert len(spectra(task)) == (8 if kind is nn.LSTM else 6)
    assert len(contextual(task, "a?b?a", "a")) == 2
    (tmp_path / "text.txt").write_text("abcd abdc\n" * 40)
    for command, *words in (
        ["neurons", "--data", str(tmp_path / "text.txt")],
        ["report"],
        ["generate", "--prompt", "ab", "--max-tokens", "5"],
    ):
        main([command, str(tmp_path / "shared"), *words])
        assert capsys.readouterr().out
    assert (tmp_path / "shared" / "report.html").stat().st_size > 1000


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"network": "gru."}, "no tensor has the name gru.weight_ih_l0; the names are encoder.weight"),
        ({"embedding": "table"}, "no matrix 'table' for the embedding"),
        ({"drop": "rnn.weight_hh_l1"}, "rnn.weight_hh_l1 is missing"),
        ({"drop": "encoder.weight"}, "the matrix of the embedding is not clear: none of"),
        ({"add": ("other.rnn.weight_ih_l0", torch.ones(2, 2))}, "2 recurrent networks were found"),
        ({"add": ("rnn.weight_hr_l0", torch.ones(2, 2))}, "a projection of the hidden state"),
        ({"add": ("rnn.weight_ih_l9", torch.ones(20, 5))}, "rnn.weight_hh_l2 is missing|layers below it are missing"),
        ({"add": ("rnn.weight_ih_l1", torch.ones(19, 5))}, "the weights of a layer are"),
        ({"add": ("encoder.weight", torch.ones(7, 4))}, "the embedding is .7, 4., and the network has 3 inputs"),
        ({"add": ("encoder.weight", torch.ones(8, 3))}, "7 tokens were given, and the weights are of 8"),
        ({"add": ("decoder.bias", torch.ones(6))}, "7 tokens were given, and the weights are of 6"),
    ],
)
def test_what_does_not_fit(change: dict[str, Any], message: str) -> None:
    *_, tensors = torch_model()
    change = dict(change)
    tensors.pop(change.pop("drop", ""), None)
    tensors |= dict([change.pop("add")]) if "add" in change else {}
    assert_refused(message, language_model, tensors, letters(), **change)


def test_layers_that_do_not_fit() -> None:
    assert_refused("resets before the recurrent product", from_keras, random(D, 3 * H), random(H, 3 * H), random(3 * H))
    assert_refused("resets before the recurrent product", from_keras, random(D, 3 * H), random(H, 3 * H))
    assert_refused("kernel .3, 10. and recurrent", from_keras, random(D, 2 * H), random(H, 2 * H))
    assert_refused("without a projection", from_tensorflow, random(2 * D, 4 * 4096), random(4 * 4096))
    assert_refused("'x' has no tensors; expected one layer", keras_layer, {"y/kernel:0": random(2, 2)}, "x")
    assert_refused("'x' has 2 tensors kernel", keras_layer, {"x/a/kernel:0": random(1), "x/b/kernel:0": random(1)}, "x")
    one, two = from_torch(nn.GRU(D, H).state_dict()), from_torch(nn.GRU(D, H).state_dict())
    assert_refused("layer 2 takes 3 inputs, and the one below", network, [*one, *two])
    assert_refused("no layers were given", network, [])
    for tokens, special in ((["a", "a"], {}), ("ab", {}), (["a"], {"eos": "b"})):
        with pytest.raises(ValueError, match=r"was given|were given"):
            Vocabulary(tokens, **special)  # type: ignore[arg-type]


# Weights that are out there


G2P_WORDS = {
    "activationist": "AE2 K T IH0 V EY1 SH AH0 N IH0 S T",  # what the package's page shows
}
WORDS = [*G2P_WORDS, "seqmodels", "zyx", "o'clock", "recurrence", "hochreiter", "a", "strengths", "l"]


def g2p(folder: Path) -> tuple[dict[str, Tensor], Vocabulary, Vocabulary]:
    weights = read_weights(folder / "g2p_en" / "checkpoint20.npz")
    source = (folder / "g2p_en" / "g2p.py").read_text()
    lists = re.search(r"self\.phonemes = (\[.*?\]) \+ (\[.*?\])", source, re.DOTALL)
    assert lists is not None
    phonemes = ast.literal_eval(lists[1]) + ast.literal_eval(lists[2])
    graphemes = ["<pad>", "<unk>", "</s>", *"abcdefghijklmnopqrstuvwxyz"]
    return (
        weights,
        Vocabulary(graphemes, pad="<pad>", unk="<unk>", eos="</s>"),
        Vocabulary(phonemes, pad="<pad>", unk="<unk>", bos="<s>", eos="</s>", words=True),
    )


def gru_step(x: Array, h: Array, weights: dict[str, Array], side: str) -> Array:
    given = weights[f"{side}_w_ih"] @ x + weights[f"{side}_b_ih"]
    known = weights[f"{side}_w_hh"] @ h + weights[f"{side}_b_hh"]
    r, z, n = np.split(given, 3)
    r_rec, z_rec, n_rec = np.split(known, 3)
    update = sigmoid(z + z_rec)
    return (1 - update) * np.tanh(n + sigmoid(r + r_rec) * n_rec) + update * h


def phonemes(word: str, weights: dict[str, Array], source: Vocabulary, target: Vocabulary) -> str:
    h = np.zeros(256)
    for letter in [*word, "</s>"]:
        number = list(source.tokens).index(letter) if letter in source.tokens else 1
        h = gru_step(weights["enc_emb"][number], h, weights, "enc")
    token, found = 2, list[str]()
    while len(found) < 20:
        h = gru_step(weights["dec_emb"][token], h, weights, "dec")
        token = int((weights["fc_w"] @ h + weights["fc_b"]).argmax())
        if token == 3:
            break
        found.append(str(target.tokens[token]))
    return " ".join(found)


@pytest.fixture(scope="module")
def pronouncer() -> tuple[Translator, dict[str, Array], Vocabulary, Vocabulary]:
    weights, source, target = g2p(package("g2p-en==2.1.0"))
    parts = ("weight_ih_l0", "w_ih"), ("weight_hh_l0", "w_hh"), ("bias_ih_l0", "b_ih"), ("bias_hh_l0", "b_hh")
    named = {f"{side}.{ours}": weights[f"{side}_{theirs}"] for side in ("enc", "dec") for ours, theirs in parts}
    task = translator(
        weights | named, source, target,
        encoder="enc.", decoder="dec.", source_embedding="enc_emb", embedding="dec_emb", head="fc_w",
    )  # fmt: skip
    return task, {name: tensor.double().numpy() for name, tensor in weights.items()}, source, target


def test_g2p(pronouncer: tuple[Translator, dict[str, Array], Vocabulary, Vocabulary]) -> None:
    task, *theirs = pronouncer
    found = [best[0].text for best in task.translate(WORDS, Beam(size=1, max_length=20))]
    assert found == [phonemes(word, *theirs) for word in WORDS]
    assert dict(zip(WORDS, found, strict=True)).items() >= G2P_WORDS.items()


def test_the_page_about_it(
    pronouncer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(package("g2p-en==2.1.0"))
    page = (Path(__file__).parents[2] / "docs" / "guide" / "recurrent-weights.md").read_text()
    (block,) = re.findall(r"```python needs=g2p\n(.*?)```", page, re.DOTALL)
    exec(block, {})
    assert "activationist AE2 K T IH0 V EY1 SH AH0 N IH0 S T\n" in capsys.readouterr().out


class Averaging(Backbone):
    """Two LSTMs; outputs are the mean of inputs and hidden states so far, weighted by a softmax over positions."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.input_size, self.output_size = input_size, input_size + 2 * hidden_size
        self.below, self.above = LSTM(input_size, hidden_size), LSTM(hidden_size, hidden_size)
        self.score = nn.Linear(self.output_size, 1, bias=False)

    def forward(
        self, x: Tensor, state: State | None = None, *, mask: Tensor | None = None, memory: State | None = None
    ) -> tuple[Tensor, State]:
        self._check(x, mask, memory)
        below, above, total, divisor = (None, None, 0, 0) if state is None else state
        h, below = self.below(x, below, mask=mask)
        g, above = self.above(h, above, mask=mask)
        every = torch.cat((x, h, g), -1)
        weight = self.score(every).exp() * (1 if mask is None else mask.unsqueeze(-1))
        totals, divisors = (weight * every).cumsum(1), weight.cumsum(1)
        if state is not None:
            totals, divisors = totals + total.unsqueeze(1), divisors + divisor.unsqueeze(1)
        y = totals / divisors.clamp(min=1e-30) * (1 if mask is None else mask.unsqueeze(-1))
        return y, (below, above, totals[:, -1], divisors[:, -1])


WINDOW = 40
TITLE = "The best way to train a neural network on your own computer"


def averaged(ids: list[int], weights: dict[str, Array]) -> Array:
    """Log-probabilities behind a window of 40 ids, padded on the left by 0, which is read like any other."""
    x = weights["embedding/embedding/embeddings:0"][[0] * (WINDOW - len(ids)) + ids]
    every = [x]
    for name in ("rnn_1", "rnn_2"):
        kernel, recurrent, bias = (
            weights[f"{name}/{name}/{kind}:0"] for kind in ("kernel", "recurrent_kernel", "bias")
        )
        rows = [k.reshape(k.shape[1], k.shape[0]) for k in np.split(kernel, 4, 1)]  # read by columns
        turned = np.split(recurrent, 4, 1)
        h, c, found = np.zeros(128), np.zeros(128), []
        for one in x:
            parts = [w @ one + r @ h + a + b for w, r, a, b in zip(rows, turned, *bias.reshape(2, 4, 128), strict=True)]
            i, f, g, o = parts
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            h = sigmoid(o) * np.tanh(c)
            found.append(h)
        x = np.array(found)
        every.append(x)
    together = np.concatenate(every, 1)
    weight = np.exp(together @ weights["attention/attention/attention_W:0"])
    logits = (weight * together).sum(0) / weight.sum() @ weights["output/output/kernel:0"] + weights[
        "output/output/bias:0"
    ]
    return logits - np.log(np.exp(logits).sum())


@pytest.fixture(scope="module")
def titles() -> tuple[LanguageModel, dict[str, Tensor], Vocabulary]:
    pytest.importorskip("h5py")
    folder = package("textgenrnn==2.0.0") / "textgenrnn-2.0.0" / "textgenrnn"
    weights = read_weights(folder / "textgenrnn_weights.hdf5")
    tokens: list[str | None] = [None] * 465
    for text, number in json.loads((folder / "textgenrnn_vocab.json").read_text()).items():
        tokens[number] = text
    tokens[0] = "<nothing>"
    vocabulary = Vocabulary(tokens, pad="<nothing>", bos="<s>", eos="<s>", unk="<nothing>")
    network_ = Averaging(100, 128)
    layers = [keras_layer(weights, name) for name in ("rnn_1", "rnn_2")]
    network_.below, network_.above = (network([layer]) for layer in layers)  # type: ignore[assignment]
    with torch.no_grad():
        network_.score.weight.copy_(weights["attention/attention/attention_W:0"].T)
    task = language_model(
        weights, vocabulary,
        network=network_, embedding="embedding/embedding/embeddings:0", head="output/output/kernel:0",
    )  # fmt: skip
    return task, weights, vocabulary


def test_textgenrnn(titles: tuple[LanguageModel, dict[str, Tensor], Vocabulary]) -> None:
    """Each character behind the 40 tokens before it, as the package reads them."""
    task, weights, vocabulary = titles
    check_network(Averaging(4, 3))
    task = task.double()
    ids = [BOS, *task.tokenizer.encode(TITLE), EOS]
    assert UNK not in ids
    places_of_text = [1, 7, 20, WINDOW, len(ids) - 1]
    windows = [[PAD] * (WINDOW - len(ids[:t])) + ids[max(0, t - WINDOW) : t] for t in places_of_text]
    with torch.inference_mode():
        found = task(torch.tensor(windows))[0][:, -1].log_softmax(-1)
    theirs = [vocabulary.ids[i] for i in ids]
    arrays = {name: tensor.double().numpy() for name, tensor in weights.items()}
    expected = np.array([averaged(theirs[max(0, t - WINDOW) : t], arrays) for t in places_of_text])  # type: ignore[arg-type]
    places = [own for own, number in enumerate(vocabulary.scored_ids) if number is not None]
    order = [vocabulary.scored_ids[place] for place in places]
    np.testing.assert_allclose(found[:, places].numpy(), expected[:, order], atol=1e-9)
    windows = [[PAD] * (WINDOW - len(ids[:t])) + ids[max(0, t - WINDOW) : t] for t in range(1, len(ids))]
    with torch.inference_mode():
        found = task(torch.tensor(windows))[0][:, -1].log_softmax(-1)
    nats = -found.gather(1, torch.tensor(ids[1:])[:, None]).mean()
    assert 0.4 < nats < 1.2
