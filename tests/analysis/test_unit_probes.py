"""Units that can be read: how they are scored, chosen and shown."""

import html
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from refusals import assert_refused
from sklearn.linear_model import LinearRegression
from sklearn.metrics import r2_score, roc_auc_score
from trainers import small_model

from seqmodels import LSTM, LanguageModel, TextDataModule, fit
from seqmodels.analysis.activations import Activations, activations
from seqmodels.analysis.character_labels import PROSE, Labels, labels
from seqmodels.analysis.coloured_text import DARK, LIGHT, coloured_html, coloured_page, coloured_text, mixed, passage
from seqmodels.analysis.html_page import POLICY
from seqmodels.analysis.unit_probes import auc, halves, r_squared, rank, typical
from seqmodels.cli.main import main
from seqmodels.cli.neurons import neurons
from seqmodels.data import Tokenizer

STRONG = 20.0
"""Through a sigmoid or a hyperbolic tangent, as good as all or nothing."""


def reader(texts: list[str]) -> LanguageModel:
    """An LSTM whose first unit counts brackets, whose second is a latch that quotation marks turn, and two of noise."""
    tokenizer = Tokenizer.char(texts)
    size = tokenizer.vocab_size
    torch.manual_seed(0)
    task = LanguageModel(LSTM(size, 4), tokenizer)
    kernel = task.backbone.layers[0].kernel  # type: ignore[index,union-attr]
    opening, closing, mark = (tokenizer.encode(letter)[0] for letter in '()"')
    with torch.no_grad():
        task.embedding.weight.copy_(torch.eye(size))
        inputs = kernel.weight_ih_l0.view(4, 4, size)  # i f g o, units, letters
        inputs[:, :2] = 0
        kernel.weight_hh_l0.view(4, 4, 4)[:, :2] = 0
        bias = kernel.bias_ih_l0.view(4, 4)
        bias[:, 0] = bias[:, 1] = torch.tensor([-STRONG, STRONG, 0, STRONG])  # keeps what it has
        inputs[0, 0, [opening, closing]] = inputs[0, 1, mark] = 2 * STRONG
        inputs[2, 0, opening], inputs[2, 0, closing] = STRONG, -STRONG
        inputs[1, 1, mark] = -2 * STRONG  # takes the opposite of what it was
        bias[2, 1] = 1
        kernel.weight_hh_l0.view(4, 4, 4)[2, 1, 1] = -STRONG
    return task.eval()


TEXTS = ['say "a (b)" and (c (d "e" f)) ' * 3, 'x "yy" (z) "(((" ' * 7, '"q" (r "s")((t)) ' * 6, 'u ("v") w ' * 9]


def test_a_counter_and_a_latch_are_found() -> None:
    found = activations(reader(TEXTS), TEXTS)
    known = labels(TEXTS, {name: PROSE[name] for name in ("quotation", "brackets")})
    ranking = rank(found, known, best=8)
    quotation, brackets = ranking["quotation"], ranking["brackets"]
    assert {quotation[0].unit, quotation[1].unit} == {"1.h.1", "1.c.1"}
    assert quotation[0].score == quotation[0].chosen_by == 1
    assert quotation[0].measure == "AUC"
    assert brackets[0].unit == "1.c.0"
    assert brackets[0].score == pytest.approx(1, abs=1e-6)
    assert brackets[0].measure == "R²"
    assert all(neuron.score < 0.9 for neuron in quotation[2:])
    assert len(quotation) == 8


def test_the_sign_of_a_unit_does_not_matter() -> None:
    found = activations(reader(TEXTS), TEXTS)
    turned = Activations(found.units, -found.values, found.texts, found.characters)
    known = labels(TEXTS, PROSE)
    mirrored = rank(turned, known)
    for name, ranked in rank(found, known).items():
        for kind in ("score", "chosen_by"):
            assert [getattr(one, kind) for one in ranked] == pytest.approx([getattr(n, kind) for n in mirrored[name]])


def test_noise_is_not_better_than_chance_where_it_was_not_chosen() -> None:
    """The best of five hundred is well above chance where it was chosen, and not where it is scored."""
    torch.manual_seed(0)
    values, truth = torch.randn(400, 500), (torch.rand(400) < 0.5).float()
    texts = torch.arange(4).repeat_interleave(100)
    found = Activations(tuple(map(str, range(500))), values, texts, torch.arange(100).repeat(4))
    best = rank(found, {"coin": Labels(list(truth.split(100)), True)})["coin"][0]
    assert best.chosen_by > 0.6
    assert abs(best.score - 0.5) < 0.12


@pytest.mark.parametrize("binary", [True, False])
def test_what_was_found_on_one_half_is_held_to_on_the_other(binary: bool) -> None:
    """A unit that says the opposite there is as wrong as can be: neither its sign nor its line is found anew."""
    texts = torch.tensor([0] * 50 + [1] * 50)
    values = torch.arange(50).repeat(2).float()
    label = (values > 20).float() if binary else values
    unit = torch.where(halves(texts), label, -label)
    found = Activations(("u",), unit.unsqueeze(1), texts, torch.arange(50).repeat(2))
    (neuron,) = rank(found, {"it": Labels([label[:50], label[50:]], binary)})["it"]
    assert neuron.chosen_by == pytest.approx(1)
    assert neuron.score == pytest.approx(0 if binary else r2_score(values[:50], -values[:50]))


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize(("count", "units"), [(2, 3), (7, 5), (200, 70)])
def test_auc_is_that_of_scikit_learn(count: int, units: int, ties: bool) -> None:
    chance = torch.Generator().manual_seed(count)
    values = torch.randn(count, units, generator=chance)
    values = values.round() if ties else values
    truth = torch.rand(count, generator=chance) < 0.4
    truth[0], truth[1] = True, False
    expected = [roc_auc_score(truth.numpy(), column.numpy()) for column in values.T]
    np.testing.assert_allclose(auc(values, truth).numpy(), expected, atol=1e-12)


def test_r_squared_is_that_of_scikit_learn() -> None:
    torch.manual_seed(0)
    first, second = torch.randn(50, 70) + 5, torch.randn(30, 70) + 5
    first[:, 3] = 2.0  # never changes, so the mean is predicted
    known, unknown = first[:, 0] * 2 + torch.randn(50), second[:, 0] * 2 + torch.randn(30) + 1
    expected = []
    for column, other in zip(first.T, second.T, strict=True):
        line = LinearRegression().fit(column[:, None].double().numpy(), known.double().numpy())
        expected.append(r2_score(unknown.double().numpy(), line.predict(other[:, None].double().numpy())))
    np.testing.assert_allclose(r_squared(first, known, second, unknown).numpy(), expected, atol=1e-9)


def test_halves_are_whole_texts() -> None:
    texts = torch.tensor([0] * 5 + [1] * 3 + [2] * 4 + [3])
    mine = halves(texts)
    assert {int(number) for number in texts[mine]} == {0, 3}
    assert {int(number) for number in texts[~mine]} == {1, 2}
    alone = halves(torch.tensor([0] * 9 + [1]))
    assert alone.tolist() == [True] * 5 + [False] * 5


def test_a_label_that_says_the_same_everywhere_has_no_units() -> None:
    found = activations(reader(TEXTS), TEXTS)
    assert rank(found, labels(TEXTS, {"never": lambda text: [False] * len(text)})) == {"never": []}
    assert rank(found, labels(TEXTS, {"unsaid": lambda text: [float("nan")] * len(text)})) == {"unsaid": []}


def test_a_page_is_safe_and_whole() -> None:
    text = "<script>alert('x')</script> & \"é\"\n"
    shown = passage("a <b> & c", text, range(len(text)), torch.linspace(-1, 1, len(text)))
    page = coloured_page([shown], "units <of> it")
    assert "<script" not in page
    assert "://" not in page
    assert POLICY in page
    assert "<h1>units &lt;of&gt; it</h1>" in page
    assert "a &lt;b&gt; &amp; c" in page
    body = re.search(r"<pre>(.*)</pre>", coloured_html(shown), re.DOTALL)
    assert body is not None
    assert html.unescape(re.sub(r"<span[^>]*>|</span>", "", body[1])) == text
    assert 'class="low" style="--s:1.00" data-value="-1.00"' in body[1]
    assert 'class="high" style="--s:1.00" data-value="1.00"' in body[1]
    assert "attr(data-value)" in page
    assert "prefers-color-scheme: dark" in page
    assert coloured_text(shown).plain == text


def test_runs_of_one_value_are_one_span() -> None:
    page = coloured_html(passage("a", '<b>&"i', range(6), torch.tensor([0.0, 0, 0, 1, 1, 1])))
    assert page.count("data-value") == 2
    assert ">&lt;b&gt;</span>" in page
    flat = passage("a", "aaa", range(3), torch.ones(3))
    assert "class" not in str(re.search(r"<pre>.*</pre>", coloured_html(flat)))


def test_letters_before_the_last_of_a_token_have_its_value() -> None:
    shown = passage("words", "two words ", [2, 8], torch.tensor([0.0, 1.0]))
    assert shown.pieces == ["two", " words "]
    doubled = passage("bytes", "é", [0, 0], torch.tensor([0.0, 1.0]))
    assert (doubled.pieces, doubled.values) == (["é"], [1.0])
    assert_refused("2 values were given for 1 characters", passage, "a", "ab", [0], torch.zeros(2))


@pytest.mark.parametrize("colours", [LIGHT, DARK])
def test_letters_are_legible_on_every_colour(colours: dict[str, tuple[int, int, int]]) -> None:
    """Contrast of at least 4.5, as WCAG 2.2 asks for text, and the two ends are as far apart for the red-blind."""

    def luminance(colour: tuple[int, int, int]) -> float:
        parts = [c / 255 / 12.92 if c / 255 <= 0.04045 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in colour]
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]

    for strength in torch.linspace(-1, 1, 41).tolist():
        two = sorted([luminance(mixed(strength, colours)), luminance(colours["ink"])])
        assert (two[1] + 0.05) / (two[0] + 0.05) >= 4.5, strength
    assert mixed(0, colours) == colours["page"]
    assert mixed(1, colours)[2] < mixed(-1, colours)[2] - 80  # the blue-sensitive cones see the difference


def test_a_typical_passage_is_of_whole_lines() -> None:
    texts = ["aaaa\n" * 40, "bb\n(cc)\n" * 20]
    label = labels(texts, {"brackets": PROSE["brackets"]})["brackets"]
    number, first, behind = typical(label, {0: 0, 1: 0}, texts, 50)
    assert number == 1
    assert first == 0 or texts[1][first - 1] == "\n"
    assert texts[1][behind - 1] == "\n"
    assert 50 <= behind - first < 60
    assert typical(label, {1: 120}, texts, 30)[1] >= 120  # only where it was not chosen


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("neurons")
    text = folder / "text.txt"
    text.write_text("".join(TEXTS) * 4)
    data = TextDataModule(str(text), length=8, batch_size=2, carry=True)
    fit(small_model(data), data, max_steps=1, validations=1, runs=str(folder / "runs"))
    return next((folder / "runs" / "language_model").iterdir())


def test_the_command(run: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    page = tmp_path / "units.html"
    main(["neurons", str(run), "--label", "brackets", "--label", "quotation", "--html", str(page)])
    told = capsys.readouterr().out
    assert re.search(r"^brackets +1\.[hc]\.\d+ +R² +-?\d", told, re.MULTILINE)
    assert re.search(r"^quotation +1\.[hc]\.\d+ +AUC +\d", told, re.MULTILINE)
    assert "position" not in told
    (kept,) = json.loads((run / "result.json").read_text())["neurons"].values()
    assert kept.keys() == {"brackets", "quotation", "environment"}
    assert f"{kept['quotation']['unit']} " in told
    assert page.read_text().count("<figure") == 2


def test_a_unit_that_is_asked_for(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    neurons(str(run), unit=["1.c.3"], characters=200)
    told = capsys.readouterr().out
    assert set(re.findall(r"1\.[hc]\.\d+", told)) == {"1.c.3"}
    assert "\x1b[" in told


@pytest.mark.parametrize(("split", "told"), [(None, "validation, 161"), ("train", "train, 200")])
def test_a_split_that_is_asked_for(run: Path, capsys: pytest.CaptureFixture[str], split: Any, told: str) -> None:
    neurons(str(run), label=["position"], characters=200, split=split)
    assert f", {told} characters" in capsys.readouterr().out


def test_a_label_of_your_own(
    run: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "labels_of_mine.py").write_text("def vowel(text):\n    return [letter in 'aeiou' for letter in text]\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    main(["neurons", str(run), "--import", "labels_of_mine", "--label", "labels_of_mine.vowel"])
    assert "labels_of_mine.vowel" in capsys.readouterr().out
    assert_refused("give --import os", neurons, str(run), label=["os.system"])


def test_mistakes(run: Path, tmp_path: Path) -> None:
    for arguments, message in (
        ({"label": ["quotaton"]}, "did you mean quotation"),
        ({"unit": ["1.c.999"]}, "no unit '1.c.999' in this network; choose one of 1.h.0 to 1.h.15, 1.c.0"),
        ({"html": str(tmp_path / "none" / "a.html")}, "no such folder; make it first"),
        ({"html": str(tmp_path)}, "which is a folder"),
        ({"characters": 1}, "expected at least 2"),
        ({"data": str(tmp_path / "none.txt")}, "there is no file"),
        ({"split": "test"}, "has no split 'test', only train, validation"),
    ):
        assert_refused(message, neurons, str(run), **arguments)
    assert_refused(r"holds no checkpoints/best.safetensors", neurons, str(tmp_path))
