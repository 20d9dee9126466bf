"""RWKV-7 as flash-linear-attention writes it, beside its published equations in numpy; and its vocabulary file."""

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from interop.families.models import changed
from interop.families.test_every_family import plain_of
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch.testing import assert_close

from seqmodels import InputError, LanguageModel, Sampling, Tokenizer, load
from seqmodels.batch import PAD, Batch
from seqmodels.cli.main import main
from seqmodels.data.windows import shifted
from seqmodels.interop.families.rwkv_vocabulary import END, greedy_tokenizer, read_pieces
from seqmodels.interop.families.write import choose, export_hf
from seqmodels.nn import RWKV7

D, H, LAYERS, WIDE, RANKS = 32, 4, 3, 48, {"decay": 5, "a": 6, "gate": 7, "v": 3}
PIECES = [bytes([byte]) for byte in range(256)] + [
    piece.encode()
    for piece in (
        " the",
        " fox",
        " f",
        "ox",
        "the",
        "th",
        "e f",
        "\n\n",
        "\n",
        "  ",
        "    ",
        "an",
        "ana",
        "é",
        "漢字",
        "漢",
        "Ā",
    )
]
Array = NDArray[np.float64]


def vocabulary(folder: Path, pieces: list[bytes]) -> Path:
    """A file in the form of RWKV's: text where it can be, else bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for number, piece in enumerate(dict.fromkeys(pieces), 1):
        try:
            lines.append(f"{number} {piece.decode()!r} {len(piece)}")
        except UnicodeDecodeError:
            lines.append(f"{number} {piece!r} {len(piece)}")
    (folder / "rwkv_vocab_v20230424.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder / "rwkv_vocab_v20230424.txt"


def written(folder: Path) -> None:
    """A folder as flash-linear-attention writes it, with lively random weights."""
    vocabulary(folder, PIECES)
    generator, tensors = torch.Generator().manual_seed(0), dict[str, torch.Tensor]()
    rows = len(set(PIECES)) + 8

    def new(name: str, *shape: int, scale: float = 0.3, mean: float = 0.0) -> None:
        tensors[name] = mean + scale * torch.randn(*shape, generator=generator)

    def norm(name: str) -> None:
        new(f"{name}.weight", D, mean=1.0)
        new(f"{name}.bias", D)

    new("model.embeddings.weight", rows, D, scale=1.0)
    new("lm_head.weight", rows, D)
    norm("model.norm")
    for n in range(LAYERS):
        layer, attn = f"model.layers.{n}.", f"model.layers.{n}.attn."
        for name in ["attn_norm", "ffn_norm", *["pre_norm"] * (n == 0)]:
            norm(layer + name)
        for letter in "rwkvag":
            new(attn + f"x_{letter}", 1, 1, D, mean=0.5)
        for name in ("k_k", "k_a"):
            new(attn + name, D, mean=1.0)
        new(attn + "r_k", H, D // H)
        for letter in "rkvo":
            new(attn + f"{letter}_proj.weight", D, D)
        for letter, rank in zip("wagv", RANKS.values(), strict=True):
            if letter == "v" and n == 0:
                continue
            new(attn + f"{letter}_lora.lora.0.weight", rank, D)
            new(attn + f"{letter}_lora.lora.2.weight", D, rank)
            if letter != "g":
                new(attn + f"{letter}_lora.lora.2.bias", D)
        norm(attn + "g_norm")
        new(layer + "ffn.x_k", D, mean=0.5)
        new(layer + "ffn.key.weight", WIDE, D)
        new(layer + "ffn.value.weight", D, WIDE)
    save_file(tensors, folder / "model.safetensors")
    ranks = {f"{name}_low_rank_dim": rank for name, rank in RANKS.items()}
    config = {
        "model_type": "rwkv7", "architectures": ["RWKV7ForCausalLM"], "hidden_size": D, "num_hidden_layers": LAYERS,
        "head_dim": D // H, "num_heads": None, "hidden_ratio": 4.0, "intermediate_size": WIDE, "hidden_act": "sqrelu",
        "norm_first": True, "norm_bias": True, "norm_eps": 1e-5, "attn": None, "value_dim": D,
        "bos_token_id": 0, "eos_token_id": 0, "tie_word_embeddings": False, "vocab_size": rows, **ranks,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def normed(x: Array, eps: float = 1e-5) -> Array:
    """Without scales; over the last axis."""
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + eps)


class Published:
    """One text, token by token, by the equations of Peng et al. (2025)."""

    def __init__(self, tensors: dict[str, torch.Tensor]) -> None:
        self.p = {name.removeprefix("model."): tensor.double().numpy() for name, tensor in tensors.items()}
        self.memories = np.zeros((LAYERS, H, D // H, D // H))  # from keys, the last axis, to values
        self.before = np.zeros((LAYERS, 2, D))

    def norm(self, name: str, x: Array) -> Array:
        return normed(x) * self.p[f"{name}.weight"] + self.p[f"{name}.bias"]

    def low_rank(self, name: str, x: Array, inside: Callable[[Array], Array] = lambda x: x) -> Array:
        y = self.p[f"{name}.lora.2.weight"] @ inside(self.p[f"{name}.lora.0.weight"] @ x)
        return y + self.p.get(f"{name}.lora.2.bias", 0.0)  # type: ignore[no-any-return]

    def read(self, i: int) -> Array:
        """Logits after one more token."""
        p, before = self.p, self.before
        x, first = self.norm("layers.0.pre_norm", p["embeddings.weight"][i]), np.zeros(D)
        for n in range(LAYERS):
            attn, feed = f"layers.{n}.attn.", f"layers.{n}.ffn."
            h = self.norm(f"layers.{n}.attn_norm", x)
            mixed = {letter: h + p[f"{attn}x_{letter}"].ravel() * (before[n, 0] - h) for letter in "rwkvag"}
            before[n, 0] = h
            r, k, v = (p[f"{attn}{letter}_proj.weight"] @ mixed[letter] for letter in "rkv")
            decay = np.exp(-np.exp(-0.5) * sigmoid(self.low_rank(f"{attn}w_lora", mixed["w"], np.tanh)))
            rate = sigmoid(self.low_rank(f"{attn}a_lora", mixed["a"]))
            gate = self.low_rank(f"{attn}g_lora", mixed["g"], sigmoid)
            if n == 0:
                first = v
            else:
                v = v + sigmoid(self.low_rank(f"{attn}v_lora", mixed["v"])) * (first - v)
            removed = (k * p[f"{attn}k_k"]).reshape(H, -1)
            removed /= np.linalg.norm(removed, axis=1, keepdims=True)
            k = k * (1 + p[f"{attn}k_a"] * (rate - 1))
            r, k, v, decay, rate = (part.reshape(H, -1) for part in (r, k, v, decay, rate))
            for head, S in enumerate(self.memories[n]):
                transition = np.diag(decay[head]) - np.outer(removed[head], rate[head] * removed[head])
                S[:] = S @ transition + np.outer(v[head], k[head])
            y = normed((self.memories[n] @ r[..., None])[..., 0], D // H * 1e-5).ravel()
            y = y * p[f"{attn}g_norm.weight"] + p[f"{attn}g_norm.bias"]
            y += ((r * k * p[f"{attn}r_k"]).sum(1, keepdims=True) * v).ravel()
            x = x + p[f"{attn}o_proj.weight"] @ (y * gate)
            h = self.norm(f"layers.{n}.ffn_norm", x)
            k = p[f"{feed}key.weight"] @ (h + p[f"{feed}x_k"] * (before[n, 1] - h))
            before[n, 1] = h
            x = x + p[f"{feed}value.weight"] @ np.maximum(k, 0) ** 2
        return p["lm_head.weight"] @ self.norm("norm", x)  # type: ignore[no-any-return]


COUNT = len(set(PIECES)) + 1
"""Pieces, and the one that ends a text."""
Pair = tuple[dict[str, torch.Tensor], LanguageModel]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rwkv7")
    written(folder)
    return folder


@pytest.fixture(scope="module")
def pair(folder: Path) -> Pair:
    """Tensors of a folder, and the model that was read."""
    model = load(folder)
    assert isinstance(model, LanguageModel)
    return load_file(folder / "model.safetensors"), model


def known(logits: torch.Tensor) -> torch.Tensor:
    """Our logits of the pieces."""
    return logits[..., 5 : 4 + COUNT]


def wanted(tensors: dict[str, torch.Tensor], row: torch.Tensor) -> torch.Tensor:
    oracle = Published(tensors)
    return torch.from_numpy(np.stack([oracle.read(int(i) - 4) for i in row])[:, 1:COUNT])


@torch.no_grad()
def test_whole_and_in_pieces(pair: Pair) -> None:
    tensors, model = pair
    torch.manual_seed(0)  # where a norm divides by next to nothing, single precision loses digits, in numpy, too
    ids = torch.randint(5, 4 + COUNT, (2, 21))
    expected = torch.stack([wanted(tensors, row) for row in ids])
    assert float(expected.std()) > 0.5
    assert_close(known(model.float()(ids)[0]).double(), expected, rtol=1e-5, atol=1e-5)
    model.double()
    for piece in (21, 1, 2, 7):
        state, found = None, []
        for part in ids.split(piece, 1):
            logits, state = model(part, state)
            found.append(known(logits))
        assert_close(torch.cat(found, 1), expected, rtol=0, atol=1e-10)


@torch.no_grad()
@pytest.mark.parametrize("side", ["left", "right"])
def test_padded_rows(pair: Pair, side: str) -> None:
    tensors, model = pair
    ids, places, lengths = torch.randint(5, 4 + COUNT, (3, 12)), torch.arange(12), torch.tensor([[12], [7], [3]])
    mask = places >= 12 - lengths if side == "left" else places < lengths
    found = model.double()(Batch(ids.masked_fill(~mask, PAD), ids, mask))[0]
    for row, real, own in zip(ids, mask, found, strict=True):
        assert_close(known(own[real]), wanted(tensors, row[real]), rtol=0, atol=1e-10)


@torch.no_grad()
def test_older_files(pair: Pair, folder: Path, tmp_path: Path) -> None:
    """Which have the six shares of a layer in one tensor, and two settings fewer."""
    shutil.copytree(folder, tmp_path / "model")
    tensors = dict(pair[0])
    for n in range(LAYERS):
        attn = f"model.layers.{n}.attn."
        tensors[f"{attn}x_x"] = torch.cat([tensors.pop(f"{attn}x_{letter}")[0] for letter in "rwkvag"])
    save_file(tensors, tmp_path / "model" / "model.safetensors")
    changed(tmp_path / "model", value_dim=None, norm_first=None)
    ids = torch.randint(5, 4 + COUNT, (2, 21))
    assert_close(load(tmp_path / "model")(ids)[0], load(folder)(ids)[0], rtol=0, atol=0)


def test_greedy_texts(pair: Pair) -> None:
    """Of 200 tokens."""
    tensors, model = pair
    oracle, prompt, out = Published(tensors), "the fox 漢字", list[int]()
    assert not model.tokenizer.starts
    for i in model.tokenizer.encode(prompt):
        logits = oracle.read(i - 4)
    while len(out) < 200 and 0 not in out:
        out.append(int(logits[:COUNT].argmax()))
        logits = oracle.read(out[-1])
    found = "".join(model.double().generate(prompt, max_tokens=200, sampling=Sampling(temperature=0)))
    assert len(out) > 100
    assert found == model.tokenizer.decode(i + 4 for i in out if i)


def test_back_again(pair: Pair, tmp_path: Path) -> None:
    tensors, model = pair
    assert "a RWKV7ForCausalLM of flash-linear-attention" in export_hf(model.float(), tmp_path / "out")
    again = load_file(tmp_path / "out" / "model.safetensors")
    assert again.keys() == tensors.keys()
    for name, tensor in tensors.items():
        rows = COUNT if tensor.shape[0] == COUNT + 8 - 1 else None
        assert_close(again[name], tensor[:rows], rtol=0, atol=0)
    other = load(tmp_path / "out")
    assert isinstance(other, LanguageModel)
    ids = torch.tensor([model.tokenizer.encode("the fox ran")])
    assert other.tokenizer.encode("the fox ran") == ids.tolist()[0]
    with torch.no_grad():
        assert_close(other(ids)[0], model(ids)[0])


def greedy(pieces: list[bytes], data: bytes) -> list[int]:
    """Numbers of the longest pieces, one after the other."""
    numbers, found = {piece: number for number, piece in enumerate(pieces, 1)}, list[int]()
    while data:
        size = next(size for size in range(len(data), 0, -1) if data[:size] in numbers)
        found.append(numbers[data[:size]])
        data = data[size:]
    return found


def test_the_longest_piece_is_taken(tmp_path: Path) -> None:
    pieces = list(dict.fromkeys(PIECES))
    own = Tokenizer(greedy_tokenizer(read_pieces(vocabulary(tmp_path, PIECES))))
    chosen = random.Random(0)
    parts = [piece.decode() for piece in pieces[256:]] + [
        END,
        "a",
        "n",
        "f",
        " ",
        "\t",
        "\r\n",
        "é",
        "字",
        "🙂",
        "'",
        "\\",
    ]
    for _ in range(100):
        text = "".join(chosen.choices(parts, k=chosen.randrange(60)))
        assert [i - 4 for i in own.encode(text)] == greedy(pieces, text.encode())
        assert own.decode(own.encode(text)) == text


SAID: dict[str, Callable[[Path], object]] = {
    "norm_bias=False .* expected True": lambda f: changed(f, norm_bias=False),
    "hidden_act='gelu' .* expected 'sqrelu'": lambda f: changed(f, hidden_act="gelu"),
    "attn=.* is not known": lambda f: changed(f, attn={"layers": [1]}),
    "value_dim=64 .* expected 32": lambda f: changed(f, value_dim=64),
    "head_dim=7 and 4 heads": lambda f: changed(f, head_dim=7),
    "a_low_rank_dim is '6'": lambda f: changed(f, a_low_rank_dim="6"),
    "has the tensor 'layers.2.attn.a_lora": lambda f: changed(f, num_hidden_layers=2),
    "has 'hello' in line 1; expected a number": lambda f: vocabulary(f, PIECES).write_text("hello\n"),
    "no literal of Python in line 1": lambda f: vocabulary(f, PIECES).write_text("1 'a' + 'b' 2\n"),
    "in line 2; its number or its piece": lambda f: vocabulary(f, PIECES).write_text("1 'a' 1\n2 'a' 1\n"),
    "lacks the byte 10 as a piece": lambda f: vocabulary(f, [one for one in PIECES if one != b"\n"]),
}


@pytest.mark.parametrize("said", SAID)
def test_one_sentence(said: str, folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "model")
    SAID[said](tmp_path / "model")
    with pytest.raises(InputError, match=said) as found:
        load(tmp_path / "model")
    assert "\n" not in str(found.value)


@pytest.mark.parametrize(
    ("network", "said"),
    [
        (RWKV7(16, 2, 4, value_residual=False), "rwkv7, lacks value_residual=False"),
        (RWKV7(16, 2, 4, head_size=8), "rwkv7, lacks head_size=8"),
        (RWKV7(16, 2, 4, norm="rms"), "rwkv7, lacks norm=rms"),
        (RWKV7(16, 2, 4, channel_mixing=False), "rwkv7, lacks channel_mixing=False"),
    ],
)
def test_what_has_no_form(network: RWKV7, said: str) -> None:
    with pytest.raises(InputError, match=said):
        choose(LanguageModel(network, Tokenizer.byte(), head_bias=False))


def test_trained_here(tmp_path: Path) -> None:
    """In one layer, and without the first norm."""
    for layers, first in ((1, True), (2, False)):
        network = RWKV7(16, layers, 4, None, 3, 4, 5, 2, norm_first=first, activation="swiglu")
        model = LanguageModel(network, Tokenizer.char(["the fox"]), head_bias=False, tie_embeddings=True).eval()
        export_hf(model, tmp_path / f"{layers}")
        again, ids = load(tmp_path / f"{layers}"), torch.tensor([[5, 6, 4, 7]])
        assert isinstance(again, LanguageModel)
        with torch.no_grad():
            assert_close(again(ids)[0], model(ids)[0])


@torch.no_grad()
def test_inside_and_as_plain_torch(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load(folder).double()
    assert isinstance(model, LanguageModel)
    ids = torch.tensor([model.tokenizer.encode("the fox ran after the hare")])
    trace = model.traced(shifted(ids))[2]
    assert {"1.w", "1.rate", "5.w"} <= trace.gates.keys()
    plain = plain_of(model, tmp_path / "plain", monkeypatch)
    first, state = plain(ids[:, :7])
    second, _ = plain(ids[:, 7:], state)
    assert_close(torch.cat((first, second), 1), model(ids)[0], atol=1e-10, rtol=0)


@pytest.mark.slow
def test_in_onnx(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("onnxruntime")
    command = ["generate", str(folder), "--prompt", "the fox", "--temperature", "0", "--max-tokens", "24"]
    main(command)
    expected = capsys.readouterr().out
    main([*command, "--engine", "onnx"])
    assert capsys.readouterr().out == expected
