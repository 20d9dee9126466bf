"""Encoder-decoders of public families give the logits, the ids and the translations of transformers."""

import json
import re
import shutil
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from interop.families.translators import ENGLISH, FRENCH, MODELS, marian, t5, trained, transformers
from refusals import refused
from torch import Tensor
from torch.testing import assert_close

from seqmodels import Beam, Translator, load
from seqmodels.analysis import alignment, contextual
from seqmodels.analysis.activations import activations
from seqmodels.analysis.gradient_horizon import gradient_norms
from seqmodels.batch import BOS, EOS, PAD, Batch
from seqmodels.cli.main import main
from seqmodels.tasks import batch_translation

TEXTS = ["the cat sat", "a dog sees the big bird and the mat", "café", "where is the dog?"]


class Pair(NamedTuple):
    theirs: Any
    ours: Translator
    tokenizer: Any
    folder: Path


def rms_norm(self: Any, x: Tensor) -> Tensor:
    """That of T5, which transformers computes in single precision."""
    return self.weight * x * (x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon).rsqrt()


def exact_positions(theirs: Any) -> None:
    """Those of Marian, whose table is rounded to single precision."""
    for side in (theirs.get_encoder(), theirs.get_decoder()) if theirs.config.model_type == "marian" else ():
        weight = side.embed_positions.weight
        angles = torch.arange(len(weight), dtype=torch.float64)[:, None] * 10_000.0 ** -(
            torch.arange(0, weight.shape[1], 2, dtype=torch.float64) / weight.shape[1]
        )
        side.embed_positions.weight.data = torch.cat((angles.sin(), angles.cos()), 1)


@pytest.fixture(autouse=True)
def exact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transformers.models.t5.modeling_t5.T5LayerNorm, "forward", rms_norm)


@pytest.fixture(scope="module", params=MODELS)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    folder = tmp_path_factory.mktemp(request.param) / "model"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = MODELS[request.param](folder).double()
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    exact_positions(theirs)
    ours = load(folder)
    assert isinstance(ours, Translator)
    return Pair(theirs, ours.double(), tokenizer, folder)


def inner(tokenizer: Any, ids: Tensor) -> Tensor:
    """Their ids, of ours."""
    return torch.tensor([[tokenizer.origins.get(int(i), int(i) - 4) for i in row] for row in ids])


def known(ours: Translator, logits: Tensor, count: int) -> Tensor:
    """Our logits of their tokens, in their order."""
    places = torch.arange(count) + 4
    for i, role in ours.tokenizer.roles.items():
        places[i] = role
    return logits[..., places]


def targets(ours: Translator, rows: int, length: int) -> Tensor:
    torch.manual_seed(1)
    ids = torch.randint(7, ours.tokenizer.vocab_size - 3, (rows, length))
    ids[:, 0] = BOS
    return ids


def sources(ours: Translator) -> tuple[Tensor, Tensor]:
    rows = [[*ids, EOS] for ids in ours.source_tokenizer.encode_batch(TEXTS)]
    width = max(map(len, rows))
    ids = torch.tensor([row + [PAD] * (width - len(row)) for row in rows])
    return ids, ids != PAD


@torch.no_grad()
def test_logits_of_padded_rows_and_over_the_cache(pair: Pair) -> None:
    theirs, ours, tokenizer, _ = pair
    source, mask = sources(ours)
    encoded = tokenizer(TEXTS, padding=True, return_tensors="pt")
    assert encoded.attention_mask.bool().tolist() == mask.tolist()
    assert inner(ours.source_tokenizer, source)[mask].tolist() == encoded.input_ids[mask].tolist()
    ids = targets(ours, len(TEXTS), 14)
    wanted = theirs(**encoded, decoder_input_ids=inner(ours.tokenizer, ids)).logits
    count = ours.tokenizer.vocab_size - 4
    batch = Batch(ids, ids, source=source, source_mask=mask)
    assert_close(known(ours, ours(batch)[0], count), wanted[..., :count], rtol=0, atol=1e-6)
    for row, length in enumerate(mask.sum(1).tolist()):  # without padding
        alone = Batch(ids[row : row + 1], ids, source=source[row : row + 1, :length])
        assert_close(known(ours, ours(alone)[0], count)[0], wanted[row, :, :count], rtol=0, atol=1e-6)
    memory = ours.encode(source, mask)
    for piece in (1, 2, 7):
        state, found = None, []
        for part in ids.split(piece, 1):
            y, state = ours.decoder(ours.embedding(part), state, memory=memory)
            found.append(ours.head(y))
        assert_close(known(ours, torch.cat(found, 1), count), wanted[..., :count], rtol=0, atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("beams", [None, 1])
def test_translations(pair: Pair, beams: int | None) -> None:
    """By the search that the model comes with, and greedy."""
    theirs, ours, tokenizer, _ = pair
    encoded = tokenizer(TEXTS, padding=True, return_tensors="pt")
    own = {} if beams is None else {"num_beams": beams}
    found = theirs.generate(**encoded, **own)
    assert ours.beam.size == 4
    if beams is None:
        best = ours.translate(TEXTS)
    else:
        limit = ours.beam.max_length
        best = ours.translate(TEXTS, Beam(size=1, max_length=limit, forced_end=ours.beam.forced_end))
    written = tokenizer.batch_decode(found, skip_special_tokens=True)
    assert [one[0].text for one in best] == written
    assert len(set(written)) > 1


@torch.no_grad()
@pytest.mark.parametrize("name", ["marian", "t5"])
def test_greedy_texts_of_200_tokens(name: str, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        larger = {"max_position_embeddings": 256, "d_model": 48, "scale_embedding": False}
        theirs = (marian(tmp_path, **larger) if name == "marian" else t5(tmp_path)).double()
        tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    exact_positions(theirs)
    ours = load(tmp_path).double()
    assert isinstance(ours, Translator)
    encoded = tokenizer(TEXTS, padding=True, return_tensors="pt")
    found = theirs.generate(**encoded, num_beams=1, max_length=None, max_new_tokens=200, min_new_tokens=199)
    assert found.shape[1] == 201
    how = Beam(size=1, min_length=199, max_length=200, forced_end=ours.beam.forced_end)
    texts = [best.text for (best,) in ours.translate(TEXTS, how)]
    assert texts == tokenizer.batch_decode(found, skip_special_tokens=True)
    assert len(set(texts)) > 1


@pytest.mark.parametrize("pair", ["marian", "t5"], indirect=True)
def test_the_command_searches_as_the_folder_says(
    pair: Pair, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless flags say otherwise, each on its own; and what the folder leaves out is as usual here."""
    folder = Path(shutil.copytree(pair.folder, tmp_path / "model"))
    lines = tmp_path / "lines.txt"
    lines.write_text("\n".join(TEXTS), encoding="utf-8")
    asked: list[Beam] = []
    found = batch_translation.translations
    monkeypatch.setattr(
        "seqmodels.cli.translate.translations",
        lambda models, texts, how, number, **more: asked.append(how) or found(models, texts, how, **more),
    )
    own = load(folder).beam  # type: ignore[union-attr]
    main(["translate", str(folder), str(lines)])
    assert capsys.readouterr().out.splitlines() == [best.text for best, *_ in load(folder).translate(TEXTS)]  # type: ignore[union-attr,operator]
    main(["translate", str(folder), str(lines), "--beam", "1", "--max-length", "9", "--n-best", "1"])
    change(folder, "generation_config.json", max_length=None, length_penalty=0.3, early_stopping=True)
    main(["translate", str(folder), str(lines), "--length-penalty", "0.7"])
    assert asked[0] == own
    assert own.size == 4
    assert asked[1] == replace(own, size=1, max_length=9)
    assert asked[2] == replace(own, length_penalty=0.7, early_stopping=True, max_length=None)


LETTERS = [
    "", " ", "  two  spaces ", "tab\there", "line\nend", "½ ﬁne ①", "漢字 and 漢 字", "nbsp\u00a0x", "ÀÉ Ñ", "WC VW",
    "zero\u200bwidth\u200dx", "dog… “quoted” \u2013 dash", "x" * 30, "▁under ▁", "\u3000wide", "e\u0301te\u0301 été",
    "emoji 👩‍👩‍👧 🐶",
]  # fmt: skip


@pytest.mark.parametrize("pair", ["marian", "marian-separate", "t5"], indirect=True)
def test_segmentation(pair: Pair) -> None:
    _, ours, tokenizer, _ = pair
    texts = ENGLISH + FRENCH + LETTERS
    if "marian" in str(type(tokenizer)).lower():
        texts = [*texts, ">>fra<< the dog", ">>fra<<dog", "the > dog"]
    for text, ids in zip(texts, ours.source_tokenizer.encode_batch(texts), strict=True):
        wanted = tokenizer(text, add_special_tokens=False).input_ids
        assert inner(ours.source_tokenizer, torch.tensor([ids]))[0].tolist() == wanted, text
        assert ours.source_tokenizer.encode(text) == ids
    for text in FRENCH + LETTERS:
        wanted = tokenizer(text_target=text, add_special_tokens=False).input_ids
        ids = ours.tokenizer.encode(text)
        assert inner(ours.tokenizer, torch.tensor([ids]))[0].tolist() == wanted, text
    text = FRENCH[1]
    assert ours.tokenizer.decode(ours.tokenizer.encode(text)) == tokenizer.decode(
        tokenizer(text_target=text).input_ids, skip_special_tokens=True
    )


@pytest.mark.parametrize("pair", ["marian", "t5"], indirect=True)
def test_inside(pair: Pair, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Alignment, activations, contextual vectors and a report, as of any translator, against transformers."""
    theirs, ours, tokenizer, folder = pair
    text, target = TEXTS[0], FRENCH[1]
    encoded = tokenizer(text, return_tensors="pt")
    with torch.no_grad():
        hidden = theirs.get_encoder()(**encoded, output_hidden_states=True).hidden_states
        heads = theirs.set_attn_implementation("eager") or theirs(
            **encoded,
            decoder_input_ids=inner(ours.tokenizer, torch.tensor([[BOS, *ours.tokenizer.encode(target)]])),
            output_attentions=True,
        )
    found = alignment(ours, text, target)
    wanted = torch.stack(heads.cross_attentions).mean((0, 2))[0]
    assert_close(found.weights.double(), wanted, rtol=0, atol=1e-6)
    read = activations(ours, [text, TEXTS[1]])
    count, size = len(ours.source_tokenizer.encode(text)), theirs.config.d_model
    assert read.values.shape[1] == size * ours.encoder.constructor_call["init_args"]["num_layers"]
    assert_close(read.values[:count, :size].double(), hidden[1][0, :count], rtol=0, atol=1e-5)
    (occurrence,) = contextual(ours, text, "cat", layer="1")
    assert any(torch.equal(occurrence.vector, row) for row in read.values[:count, :size])
    for side, lines in (("en", ENGLISH[:3]), ("fr", FRENCH[:3])):
        (tmp_path / f"pairs.{side}").write_text("\n".join(lines * 8) + "\n", encoding="utf-8")
    files = [str(tmp_path / f"pairs.{side}") for side in ("en", "fr")]
    capsys.readouterr()
    main(["report", str(folder), "--data", *files, "--to", str(tmp_path / "r.html")])
    told = capsys.readouterr().err
    shown = {line.split("  ")[1].strip(): "(" not in line for line in told.splitlines() if line.startswith("  ")}
    assert {name for name, there in shown.items() if there} >= {"Gradient horizon", "Attention"}, told
    main(["report", str(folder), "--data", files[0], "--to", str(tmp_path / "r.html")])
    assert "two files that end in their languages" in capsys.readouterr().err
    (tmp_path / "lines.txt").write_text(text + "\n")
    main(["translate", str(folder), str(tmp_path / "lines.txt"), "--attention-map", str(tmp_path / "a.html")])
    assert (tmp_path / "a.html").stat().st_size > 1000
    capsys.readouterr()
    (tmp_path / "many.txt").write_text("\n".join(ENGLISH) + "\n")
    main(["neurons", str(folder), "--data", str(tmp_path / "many.txt"), "--label", "boundary"])
    told = capsys.readouterr().out
    assert "boundary" in told
    assert f"{theirs.config.d_model * ours.encoder.constructor_call['init_args']['num_layers']} units" in told
    assert "give --data" in refused(capsys, "neurons", str(folder))
    ids = torch.tensor([[BOS, *ours.tokenizer.encode(target), EOS]])
    source = torch.tensor([[*ours.source_tokenizer.encode(text), EOS]])
    norms = gradient_norms(ours, Batch(ids[:, :-1], ids[:, 1:], source=source))
    assert norms.keys() == {"x", "source"}
    assert all(float(one.nan_to_num().max()) > 0 for one in norms.values())


def change(folder: Path, file: str = "config.json", **fields: Any) -> None:
    content = json.loads((folder / file).read_text()) | fields
    (folder / file).write_text(json.dumps({name: value for name, value in content.items() if value is not None}))


BAD: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "no spm": ("marian", lambda f: (f / "source.spm").unlink(), "source.spm.: No such file"),
    "damaged spm": ("marian", lambda f: (f / "source.spm").write_bytes(b"\x0a\xff"), "is no SentencePiece model"),
    "other spm": (
        "marian", lambda f: (f / "source.spm").write_bytes(trained(ENGLISH, 60, model_type="bpe")), "no unigram model",
    ),
    "no vocabulary": ("marian", lambda f: (f / "vocab.json").write_text("[]"), "no ids of <pad>, </s> and <unk>"),
    "a hole": ("marian", lambda f: change(f, "vocab.json", more=9999), "expected the ids from 0 to"),
    "another vocabulary": ("marian", lambda f: change(f, "vocab.json", **{"<unk>": None, "<u>": 1}), "no ids of"),
    "fewer layers": ("marian", lambda f: change(f, decoder_layers=2), "has the tensor .*which its config.json lacks"),
    "more layers": ("t5", lambda f: change(f, num_layers=5), "has no tensor .encoder.block.*layer"),
    "several ends": ("t5", lambda f: change(f, "generation_config.json", eos_token_id=[1, 5]), "eos_token_id=.1, 5."),
    "another size": ("t5", lambda f: change(f, d_ff=9), "does not fit the weights"),
    "activation": ("t5", lambda f: change(f, feed_forward_proj="gated-tanh"), "feed_forward_proj=.gated-tanh. in"),
    "order": ("marian", lambda f: change(f, normalize_before=True), "normalize_before=True in .* not known here"),
    "bad words": ("t5", lambda f: change(f, "generation_config.json", bad_words_ids=[[7]]), "bad_words_ids"),
    "beams": ("t5", lambda f: change(f, "generation_config.json", num_beams="4"), "num_beams is '4'"),
    "no beams": ("t5", lambda f: change(f, "generation_config.json", num_beams=0), "a beam of 0 was given"),
}  # fmt: skip


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    found = {name: tmp_path_factory.mktemp("bad") / name for name in ("marian", "t5")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, folder in found.items():
            MODELS[name](folder)
    return found


@pytest.mark.parametrize("name", BAD)
def test_bad_folders(name: str, folders: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    family, spoil, message = BAD[name]
    folder = Path(shutil.copytree(folders[family], tmp_path / "model"))
    spoil(folder)
    assert re.search(message, refused(capsys, "translate", str(folder)))
