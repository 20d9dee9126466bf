"""Word vectors: neighbours, analogies, embeddings and maps."""

import math
from pathlib import Path

import pytest
import torch
from refusals import assert_refused, refused
from torch import Tensor, nn
from vector_bytes import written

from seqmodels import LSTM, LanguageModel, Tokenizer
from seqmodels.analysis import draw_map, map_of
from seqmodels.cli.main import main
from seqmodels.interop.word_vectors import Accuracy, WordVectors, words_of
from seqmodels.interop.word_vectors.analogies import read_questions

# Neighbours and analogies


def brute(vectors: WordVectors, target: Tensor, without: list[str]) -> list[tuple[str, float]]:
    """All cosines in double precision, the largest first."""
    cosines = torch.cosine_similarity(vectors.matrix.double(), target.double()).tolist()
    pairs = [pair for pair in zip(vectors.words, cosines, strict=True) if pair[0] not in without]
    return sorted(pairs, key=lambda pair: -pair[1])


@pytest.fixture
def some() -> WordVectors:
    chance = torch.Generator().manual_seed(3)
    scale = torch.rand(60, 1, generator=chance) * 5
    return WordVectors([f"w{i}" for i in range(60)], torch.randn(60, 8, generator=chance) * scale)


def test_neighbours_and_analogies_against_brute_force(some: WordVectors) -> None:
    row = some.vector("w7")
    a, b, c = torch.nn.functional.normalize(some.vectors(["w1", "w2", "w3"]).double(), dim=1)
    for found, expected in (
        (some.neighbours("w7", 9), brute(some, row, ["w7"])),
        (some.neighbours(row, 9), brute(some, row, [])),
        (some.analogy("w1", "w2", "w3", 5), brute(some, b - a + c, ["w1", "w2", "w3"])),
    ):
        assert [one.word for one in found] == [word for word, _ in expected[: len(found)]]
        assert [one.score for one in found] == pytest.approx([score for _, score in expected[: len(found)]], abs=1e-6)
    assert len(some.neighbours("w7", 1000)) == 59
    assert len(some.analogy("w7", "w7", "w8", 1000)) == 58


def test_questions_are_answered_as_analogies_are(
    some: WordVectors, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seqmodels.interop.word_vectors.vectors.SCORES_AT_ONCE", 60 * 4)  # several pieces
    triples = [(f"w{i}", f"w{(3 * i + 1) % 60}", f"w{(7 * i + 5) % 60}") for i in range(0, 40, 3)]
    lines = [": right"] + [f"{a} {b} {c} {some.analogy(a, b, c, 1)[0].word}" for a, b, c in triples]
    lines += ["", ": wrong and unknown"] + [f"{a} {b} {c} {some.analogy(a, b, c, 2)[1].word}" for a, b, c in triples]
    lines += ["w1 w2 w3 absent", ": nothing known", "a b c d"]
    path = written(tmp_path, "\n".join(lines).encode(), "questions.txt")
    many = len(triples)
    expected = {
        "right": Accuracy(many, many, 0),
        "wrong and unknown": Accuracy(0, many, 1),
        "nothing known": Accuracy(0, 0, 1),
        "total": Accuracy(many, 2 * many, 2),
    }
    assert some.evaluate(path) == some.evaluate(read_questions(path)) == expected
    assert expected["total"].fraction == 0.5
    assert expected["nothing known"].fraction == 0
    upper = written(tmp_path, "\n".join(lines).upper().encode(), "upper.txt")
    assert some.evaluate(upper)["total"] == Accuracy(0, 0, 2 * many + 2)
    assert some.evaluate(upper, lowercase=True)["total"] == expected["total"]


def test_files_without_questions(some: WordVectors, tmp_path: Path) -> None:
    assert_refused("no questions", some.evaluate, written(tmp_path, b": only\n"))
    assert_refused("line 1 .* 3 words", some.evaluate, written(tmp_path, b"a b c\n"))


def test_unknown_words_are_answered_with_their_like() -> None:
    vectors = WordVectors(["Paris", "sister", "brother"], torch.eye(3))
    for word, hint in (("paris", "did you mean Paris"), ("sistr", "sister"), ("zzz", "one of the 3 words")):
        assert_refused(hint, vectors.neighbours, word)
    for bad in (torch.ones(4), torch.ones(1, 3)):
        assert_refused("expected", vectors.neighbours, bad)
    assert_refused("k=0", vectors.neighbours, "Paris", 0)


def test_what_are_no_word_vectors() -> None:
    assert_refused("a row for each word", WordVectors, ["a", "b"], torch.ones(3, 2))
    assert_refused("a row for each word", WordVectors, [], torch.ones(0, 2))
    assert_refused("there twice", WordVectors, ["a", "a"], torch.ones(2, 2))
    assert_refused("'b' .* not finite", WordVectors, ["a", "b"], torch.tensor([[1.0, 2], [3, math.nan]]))


# Into embeddings, and out of them


@pytest.fixture
def words() -> Tokenizer:
    return Tokenizer.word(["the King saw the queen\nand saw and the\n"])


def test_an_embedding_begins_with_vectors(words: Tokenizer) -> None:
    vectors = WordVectors(["queen", "the", "king", "</s>", "other"], torch.randn(5, 6))
    torch.manual_seed(0)
    model = LanguageModel(LSTM(6, 6), words, tie_embeddings=True)
    before = model.embedding.weight.detach().clone()
    filled = vectors.into(model)
    assert filled.found == 3
    assert set(filled.missing) == {"<unk>", "King", "saw", "and"}
    after = dict(zip(words_of(words), model.embedding.weight[3:], strict=False))
    for word, name in (("the", "the"), ("queen", "queen"), ("\n", "</s>")):
        assert torch.equal(after[word], vectors.vector(name))
    unmoved = [number for number, word in enumerate(words_of(words)[:-1], 3) if word not in ("the", "queen", "\n")]
    assert torch.equal(model.embedding.weight[unmoved], before[unmoved])
    assert model.head.weight is model.embedding.weight
    assert model.embedding.weight.requires_grad
    assert set(vectors.into(model, freeze=True, lowercase=True).missing) == {"<unk>", "saw", "and"}
    assert torch.equal(model.embedding.weight[words.encode("King")[0]], vectors.vector("king"))
    assert not model.embedding.weight.requires_grad


def test_vectors_are_rescaled(words: Tokenizer) -> None:
    vectors = WordVectors(words_of(words)[1:], 40 * torch.randn(len(words_of(words)) - 1, 6))
    embedding = nn.Embedding(words.vocab_size, 6)
    size = embedding.weight.square().mean().item()
    vectors.into(embedding, words, rescale=True)
    row = embedding.weight[words.encode("queen")[0]]
    assert torch.cosine_similarity(row, vectors.vector("queen"), dim=0).item() == pytest.approx(1, abs=1e-6)
    assert embedding.weight[4:].square().mean().item() == pytest.approx(size, rel=1e-4)


def test_vectors_that_do_not_fit(words: Tokenizer) -> None:
    vectors = WordVectors(["the"], torch.ones(1, 6))
    assert_refused("input_size=6", vectors.into, nn.Embedding(words.vocab_size, 5), words)
    assert_refused("got none", vectors.into, nn.Embedding(words.vocab_size, 6))
    assert_refused("got one of", vectors.into, nn.Embedding(3, 6), words)
    assert_refused("none of the tokens", vectors.into, nn.Embedding(5, 6), Tokenizer.char("a"))


@pytest.mark.parametrize("kind", ["word", "char", "bpe"])
def test_those_of_a_model(kind: str, words: Tokenizer) -> None:
    tokenizer = {"word": words, "char": Tokenizer.char(["abcé"]), "bpe": Tokenizer.bpe(["the queen the queen"], 270)}
    model = LanguageModel(LSTM(6, 8), tokenizer[kind])
    found = WordVectors.of(model)
    word, text = {"word": ("queen", "queen"), "char": ("é", "é"), "bpe": (" queen", " queen")}[kind]
    (number,) = model.tokenizer.encode(text)
    assert torch.equal(found.vector(word), model.embedding.weight[number])
    assert "<pad>" not in found
    assert "" not in found
    assert len(WordVectors.of(model, limit=3)) == 3
    with torch.no_grad():
        model.embedding.weight.zero_()
    assert found.vector(word).abs().sum() > 0  # a copy


# Maps


def test_a_map_keeps_what_pairs_have_in_common() -> None:
    """Two directions in ten dimensions come out as a parallelogram, turned and perhaps mirrored, to scale."""
    chance = torch.Generator().manual_seed(0)
    axes = torch.linalg.qr(torch.randn(10, 2, generator=chance)).Q.T
    flat = torch.tensor([[0.0, 0], [3, 0], [0, 1], [3, 1], [7, 2], [-4, -1]])
    points = map_of(flat @ axes + 5)
    torch.testing.assert_close(torch.cdist(points, points), torch.cdist(flat, flat).double(), atol=1e-5, rtol=0)
    torch.testing.assert_close(points[1] - points[0], points[3] - points[2], atol=1e-5, rtol=0)
    assert torch.equal(points, map_of(flat @ axes + 5))
    assert points[:, 0].var() > points[:, 1].var()


def test_pca_against_scikit_learn() -> None:
    decomposition = pytest.importorskip("sklearn.decomposition")
    vectors = torch.randn(40, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = torch.from_numpy(decomposition.PCA(2).fit_transform(vectors.numpy()))
    found = map_of(vectors)
    torch.testing.assert_close(found.abs(), expected.abs(), atol=1e-9, rtol=0)
    axes = torch.linalg.lstsq(vectors - vectors.mean(0), found).solution.T
    assert bool((axes.gather(1, axes.abs().argmax(1, keepdim=True)) > 0).all())
    torch.testing.assert_close(map_of(-vectors), -found, atol=1e-9, rtol=0)


def test_tsne_keeps_neighbours() -> None:
    pytest.importorskip("sklearn")
    chance = torch.Generator().manual_seed(0)
    centres = torch.eye(3, 12).repeat_interleave(8, 0)
    vectors = (centres + 0.05 * torch.randn(24, 12, generator=chance)) * (1 + torch.rand(24, 1, generator=chance))
    points = map_of(vectors, "tsne")
    nearest = torch.cdist(points, points).fill_diagonal_(math.inf).argmin(1)
    assert torch.equal(nearest // 8, torch.arange(24) // 8)


def test_maps_that_cannot_be() -> None:
    for vectors, method in ((torch.ones(2, 5), "pca"), (torch.ones(4, 5), "tsne"), (torch.ones(5, 1), "pca")):
        assert_refused("at least", map_of, vectors, method)
    assert_refused("choose pca or tsne", map_of, torch.ones(5, 5), "umap")
    assert_refused("as many of each", draw_map, torch.ones(3, 2), ["a"])
    assert_refused("'d' of a pair", draw_map, torch.ones(3, 2), ["a", "b", "c"], [("a", "d")])


def test_a_map_as_a_picture(tmp_path: Path) -> None:
    words = ["sister", "brother", "niece", "nephew", "upon sister", "$x^", "\n"]
    points = torch.tensor([[0.0, 0], [1, 0], [0, 1], [1, 1], [0, 0], [0.5, 0.5], [0.2, 0.2]])
    figure = draw_map(points, words, [("sister", "brother"), ("niece", "nephew")])
    (axes,) = figure.axes
    names = [text.get_text() for text in axes.texts if text.get_text()]
    assert names[:4] == words[:4]
    assert "upon sister" not in names  # there is no room
    assert {"$x^", "⏎"} <= set(names)
    apart = draw_map(9 * points[:4] - 4, words[:4])  # beyond what an empty picture shows
    assert len(apart.axes[0].texts) == 4
    figure.savefig(tmp_path / "map.png")
    assert (tmp_path / "map.png").stat().st_size > 1000


# The command


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    grid = {"man": (1, 0, 0), "woman": (1, 1, 0), "king": (1, 0, 2), "queen": (1, 1, 2), "apple": (-3, 1, 0)}
    lines = [f"{word} {a} {b} {c}" for word, (a, b, c) in grid.items()]
    path, picture = written(tmp_path, "\n".join(lines).encode()), tmp_path / "map.svg"
    questions = written(tmp_path, b": royal\nman king woman queen\n", "questions.txt")
    asked = ["--near", "king", "apple", "--analogy", "man", "king", "woman", "--k", "2", "--questions", str(questions)]
    saved = ["--save", str(tmp_path / "saved.txt.gz")]
    main(["embeddings", str(path), *asked, "--map", str(picture), "--pairs", "man", "woman", "king", "queen", *saved])
    out = capsys.readouterr().out
    assert WordVectors.read(tmp_path / "saved.txt.gz").words == list(grid)
    assert "5 words, 3 dimensions" in out
    assert "man is to king as woman is to:\n   0.9" in out
    assert out.split("woman is to:\n")[1].split()[1] == "queen"
    assert "near king:" in out
    assert "near apple:" in out
    assert "100.0% of 1 right" in out
    assert "queen" in picture.read_text() or picture.stat().st_size > 1000
    for words, says in (
        (["--analogy", "a", "b"], "expected three"),
        (["--map", str(picture), "--pairs", "man"], "two for each"),
        (["--pairs", "man", "king"], "without --map"),
        (["--save", str(tmp_path / "no" / "a.txt")], "make it first"),
        (["--map", "map.txt"], "ends in one of"),
        (["--map", str(tmp_path / "no" / "map.png")], "make it first"),
        (["--near", "kng"], "did you mean king"),
        (["--senses", "bank"], "a word and a file"),
        (["--senses", "bank", str(path)], "needs the run"),
        (["--layer", "1.h"], "without --senses"),
    ):
        assert says in refused(capsys, "embeddings", str(path), *words)
    unequal = written(tmp_path, b"king 1 2 3\nqueen 4 5\n", "unequal.txt")
    message = "has 3 numbers behind a word; expected 2, as another line has"
    assert message in refused(capsys, "embeddings", str(unequal), "--near", "king")
