"""Translators from end to end: trained, tested and put to use on the command line."""

import contextlib
import io
import itertools
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from pairs import write_pairs
from refusals import assert_refused, refused
from trainers import trainer

from seqmodels import GRU, LanguageModel, Transformer, TranslationDataModule, Translator, fit, load, share
from seqmodels.analysis import alignment
from seqmodels.analysis.learning_curves import read_metrics
from seqmodels.batch import EOS, IGNORE
from seqmodels.cli.main import main
from seqmodels.cli.neurons import neurons
from seqmodels.cli.translate import load_translators
from seqmodels.data.sampler import Replica, loader
from seqmodels.decoding import Beam
from seqmodels.environment import quiet
from seqmodels.errors import InputError, one_line
from seqmodels.metrics import TranslationMetrics, bleu_by_length, corpus_scores
from seqmodels.nn import quantization
from seqmodels.tasks import translator


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pairs(tmp_path_factory.mktemp("pairs"))


def module(files: Path, **others: object) -> TranslationDataModule:
    arguments = {"data": str(files), "tokenizer": "word", "batch_tokens": 200} | others
    return TranslationDataModule(source="en", target="fr", **arguments)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def run(files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    data = module(files)
    model = Translator(GRU(24, 24), GRU(24, 48), data.tokenizer, data.source_tokenizer, "general", lr=2e-2)
    return fit(model, data, max_steps=150, validations=2, runs=str(tmp_path_factory.mktemp("runs")))


@contextlib.contextmanager
def standard_input(text: bytes) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text)))
        yield


def translated(run: Path, text: bytes, capsys: pytest.CaptureFixture[str], *words: str, told: str = "") -> list[str]:
    with standard_input(text):
        main(["translate", str(run), *words])
    captured = capsys.readouterr()
    assert told in captured.err
    return captured.out.splitlines()


def test_it_learns_and_leaves_what_a_run_leaves(run: Path) -> None:
    result = json.loads((run / "result.json").read_text())
    assert result["val/exact_match"] > 0.9
    assert result["val/bleu"] > 90
    for name in ("config.yaml", "metrics.csv", "translations.md", "attention.png", "checkpoints/best.safetensors"):
        assert (run / name).stat().st_size > 0
    assert (run / "translations.md").read_text().count("## step") == 2


def test_its_decoder_by_onnx(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With a recurrent encoder, which torch runs; beams of several sentences, coverage, samples."""
    pytest.importorskip("onnxruntime")
    given = b"a dog and a bird\nbig bird and cat\ncat\n"
    for words in (["--n-best", "3"], ["--samples", "2", "--seed", "1"], ["--beam", "1", "--coverage-penalty", "0.1"]):
        expected = translated(run, given, capsys, *words)
        assert translated(run, given, capsys, *words, "--engine", "onnx") == expected


def test_units_of_its_encoder(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On held-out sources, a layer of 24 units in each direction."""
    main(["neurons", str(run), "--label", "boundary"])
    told = capsys.readouterr().out
    assert ", validation, " in told.splitlines()[0]
    assert "48 units" in told
    assert "boundary" in told
    assert_refused("a Translator; expected a language model", neurons, str(run), ablate="mean")


def test_lines_come_out_as_they_went_in(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = b"a dog\n\nbig bird and cat\r\ncat\n  \t\n"  # white space is an empty line
    assert translated(run, given, capsys) == ["chien un", "", "chat et oiseau grand", "chat", ""]
    assert translated(run, "\u00a0\u3000\ncat\n".encode(), capsys) == ["", "chat"]
    assert translated(run, given, capsys, "--beam", "1") == ["chien un", "", "chat et oiseau grand", "chat", ""]
    assert translated(run, b"", capsys) == []


def test_what_is_too_long_for_the_positions_is_cut_and_told(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A line for each all the same, and what it is cut to is what it would have been translated from."""
    torch.manual_seed(0)
    data = module(files, joint=True, max_length=7)
    shape = {"input_size": 8, "num_layers": 1, "num_heads": 2, "positions": "learned", "context": 8}
    model = Translator(Transformer(**shape, causal=False), Transformer(**shape, memory_size=8), data.tokenizer)  # type: ignore[arg-type]
    run = fit(model, data, max_steps=2, validations=1, runs=str(files / "runs"))
    capsys.readouterr()
    text = b"a dog sees a big cat and a bird\na dog sees a big cat and\ncat\n"
    long, short, _ = translated(run, text, capsys, told="1 lines were longer than the positions")
    assert long == short


def test_translations_that_are_cut_are_told(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = "2 translations were cut at their maximum number of tokens"
    words = ("--max-length", "1", "--n-best", "2", "--beam", "2")
    assert len(translated(run, b"big bird and cat\n\n", capsys, *words, told=told)) == 3
    assert translated(run, b"cat\n", capsys, "--exhaustive") == ["chat"]
    capsys.readouterr()
    main(["test", str(run)])
    assert "30 sentences, beam size 5\n" in capsys.readouterr().out


def test_a_translation_may_be_as_long_as_those_of_training(tmp_path: Path) -> None:
    """Bytes of two scripts: a source of 5 bytes, and a target of 30."""
    for split, count in {"train": 40, "val": 4}.items():
        (tmp_path / f"{split}.en").write_text("hello\n" * count)
        (tmp_path / f"{split}.ta").write_text("வணக்கம்நண்\n" * count)
    data = TranslationDataModule(str(tmp_path), "en", "ta", tokenizer="byte", batch_tokens=400)
    torch.manual_seed(0)
    model = Translator(GRU(8, 8), GRU(8, 16), data.tokenizer)
    run = fit(model, data, max_steps=1, validations=1, runs=str(tmp_path / "runs"))
    for task in (model, load(run), load(share(run, tmp_path / "shared"))):
        assert isinstance(task, Translator)
        task.head.bias.data[EOS] = -99.0  # it never ends by itself
        ((found,),) = task.translate(["hello"])
        tokens = found.log_probability / found.score
        assert (round(tokens), found.complete) == (101, False)


def test_validation_translates_some_sentences_and_the_last_one_all(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(translator, "TRANSLATED", 10)
    data = module(files, batch_tokens=40, joint=True)
    run = fit(Translator(GRU(8, 8), GRU(8, 16), data.tokenizer), data, max_steps=4, validations=2, runs=str(tmp_path))
    counts = [row["val/sentences"] for row in read_metrics(run / "metrics.csv") if "val/sentences" in row]
    assert 4 <= counts[0] <= 16
    assert counts[1] == 40
    lines = capsys.readouterr().out.splitlines()
    assert any(f"beam size 1, {int(counts[0])} sentences" in line for line in lines)
    assert any(line.startswith("best ") and "(beam size 1, " in line for line in lines)


def test_a_line_is_one_line() -> None:
    assert one_line("a\nb\r\nc") == "a b c"
    assert one_line("") == ""


def test_n_best_and_json(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = translated(run, b"a dog\n", capsys, "--n-best", "2")
    assert [line.split("\t")[0] for line in lines] == ["1", "1"]
    scores = [float(line.split("\t")[1]) for line in lines]
    assert scores == sorted(scores, reverse=True)
    (line,) = translated(run, b"a dog\n", capsys, "--json", "--n-best", "2", "--ensemble", str(run))
    found = json.loads(line)
    assert found["source"] == "a dog"
    assert [set(one) for one in found["translations"]] == [{"text", "score", "log_probability", "complete"}] * 2


def test_translations_drawn_at_random(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--samples", "3", "--seed", "1", "--temperature", "3")
    lines = translated(run, b"a dog\n\na dog\n", capsys, *words)
    assert lines == translated(run, b"a dog\n\na dog\n", capsys, *words)
    numbers, _, texts = zip(*(line.split("\t") for line in lines), strict=True)
    assert numbers == ("1", "1", "1", "2", "3", "3", "3")  # the empty line has one translation
    assert texts[3] == ""
    assert texts[:3] != texts[4:]
    assert len(set(texts)) > 2
    assert translated(run, b"a dog\n", capsys, "--samples", "1", "--top-k", "1")[0].endswith("\tchien un")
    many = translated(run, b"a dog and a cat\n" * 300, capsys, "--samples", "1", "--seed", "1", "--temperature", "9")
    assert many[:44] != many[256:]  # of the second part that is read


def test_weights_of_half_precision_translate_alike(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert translated(run, b"big bird and cat\n", capsys, "--bf16") == ["chat et oiseau grand"]
    (half,) = load_translators([str(run)], bf16=True)
    assert isinstance(half, Translator)
    assert half.embedding.weight.dtype == torch.bfloat16
    main(["test", str(run), "--json", "--bf16"])
    assert json.loads(capsys.readouterr().out)["exact_match"] > 0.8


def test_weights_of_eight_bits_translate_alike(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="no linear layer of this model has 65,536 weights"):
        load_translators([str(run)], int8=True)
    monkeypatch.setattr(quantization, "MIN_WEIGHTS", 1)
    assert translated(run, b"big bird and cat\n", capsys, "--int8") == ["chat et oiseau grand"]
    (eight,) = load_translators([str(run)], int8=True)
    assert any(isinstance(part, quantization.Int8Linear) for part in eight.modules())  # type: ignore[attr-defined]
    main(["test", str(run), "--json", "--int8"])
    assert json.loads(capsys.readouterr().out)["exact_match"] > 0.8


def test_attention_as_a_page(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "map.html"
    translated(run, b"a <big> dog\n\ncat\n", capsys, "--attention-map", str(path))
    page = path.read_text()
    assert page.count("<figure>") == 2
    task = load(run)
    assert isinstance(task, Translator)
    weights = alignment(task, "cat", "chat").weights
    shown = re.findall(r'"--w:([\d.]+)" title="([^"]+) ← ([^:]+):', page.split("<figure>")[2])
    assert [(target, source) for _, target, source in shown] == list(itertools.product(["chat", "⏎"], ["cat", "⏎"]))
    two_digits = pytest.approx(weights.flatten().tolist(), abs=5.1e-3)
    assert [float(weight) for weight, *_ in shown] == two_digits
    assert "<script" not in page
    assert "://" not in page


def test_scores_of_two_files(run: Path, files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["test", str(run), "--data", str(files / "test.en"), str(files / "test.fr"), "--beam", "2"])
    out = capsys.readouterr().out
    assert "30 sentences" in out
    assert "nrefs:1|case:mixed|eff:no|tok:13a" in out
    kept = json.loads((run / "result.json").read_text())
    name = "the files test.en and test.fr, whole, beam of 2"
    scores = kept["tests"][name]
    assert scores["environment"]["cores"] == os.cpu_count()
    assert scores["bleu"] > 80
    assert sum(row["sentences"] for row in scores["by_length"]) == 30
    assert kept["val/exact_match"] > 0.9  # what was there stays
    assert (run / "bleu_by_length.png").stat().st_size > 0
    main(["test", str(run), "--json"])
    assert json.loads(capsys.readouterr().out)["exact_match"] > 0.8
    main(["validate", str(run)])
    kept = json.loads((run / "result.json").read_text())["tests"]
    assert {"beam of 2", "test", "validation"} <= {name.split(", ")[-1] for name in kept}  # none replaces another
    assert kept[name] == scores
    main(["test", str(run), "--json", "--references", str(files / "test.fr"), "--bleu-tokenizer", "intl"])
    signature = json.loads(capsys.readouterr().out.splitlines()[-1])["bleu_signature"]
    assert signature.startswith("nrefs:2|case:mixed|eff:no|tok:intl")
    main(["test", str(run), "--ensemble", str(run)])  # with itself, it is as good as alone
    kept = json.loads((run / "result.json").read_text())["tests"]
    (whole,) = (scores for name, scores in kept.items() if name.endswith("test, ensemble of 2"))
    (alone,) = (scores for name, scores in kept.items() if name.endswith(", test"))
    assert whole["bleu"] == pytest.approx(alone["bleu"])
    assert "beside 30 and 40 sentences" in refused(capsys, "test", str(run), "--references", str(files / "valid.fr"))


@pytest.mark.parametrize(
    ("command", "words", "hint"),
    [
        ("translate", "--beam 0", "beam of 0 was given"),
        ("test", "--beam 0", "beam of 0 was given"),
        ("translate", "--top-p 0.9", "--top-p is for translations that are drawn"),
        ("translate", "--samples 2 --beam 3", "--beam is for a search, and --samples draws"),
        ("translate", "--samples 0", "samples=0 was given"),
        ("translate", "--source fr", "translates from 'en' to 'fr', and source='fr'"),
        ("translate", "", "line 2 of standard input is not UTF-8"),
        ("translate", "--attention-map missing/map.html", "there is no such folder"),
        ("generate", "", "not a language model; use seqmodels translate"),
        ("test", "--stride 4", "--stride was given"),
        ("test", "--data {files}/test.en {files}/valid.fr", "has 30 lines and"),
    ],
)
def test_bad_input_is_named(
    run: Path, files: Path, capsys: pytest.CaptureFixture[str], command: str, words: str, hint: str
) -> None:
    with standard_input(b"a\n\xff\n"):
        assert hint in refused(capsys, command, str(run), *words.format(files=files).split())


def test_unknown_tokens_are_counted(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert len(translated(run, b"a zebra\n", capsys, told="1 tokens of the source are unknown")) == 1


def test_a_language_model_translates(files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    data = module(files, layout="joined")
    model = LanguageModel(Transformer(32, 2, 2, context=64), data.tokenizer, lr=1e-2)
    run = fit(model, data, max_steps=350, validations=1, runs=str(tmp_path))
    main(["test", str(run), "--json", "--beam", "1"])
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["exact_match"] > 0.7
    assert translated(run, b"a dog\n\ncat and bird\n", capsys) == ["chien un", "", "oiseau et chat"]


def test_the_figures_of_two_ranks_are_those_of_one(files: Path, run: Path) -> None:
    """Each rank translates its share; sums are added and divided once."""
    task = load(run)
    assert isinstance(task, Translator)
    data = module(files)

    def sums(replica: Replica) -> dict[str, torch.Tensor]:
        with quiet():
            trainer(1, limit_val_batches=1.0).validate(
                task, loader(data.scored_batches("validation", replica)), verbose=False
            )
        return {name: getattr(task.translated, name).clone() for name in ("bleu", "chrf", "exact", "sentences")}

    whole, parts = sums(Replica()), [sums(Replica(rank, 2)) for rank in range(2)]
    for name, figure in whole.items():
        assert (figure == sum(part[name] for part in parts)).all()
    assert int(whole["sentences"]) == 40


def test_references_are_the_text_of_the_corpus(run: Path, files: Path, tmp_path: Path) -> None:
    """Words that the vocabulary lacks count as they are written, whatever the batches."""
    for language in ("en", "fr"):
        text = (files / f"test.{language}").read_text().replace("oiseau", "oiseau_bleu").replace("chien", " chien")
        (tmp_path / f"test.{language}").write_text(text)
    task = load(run)
    assert isinstance(task, Translator)
    data = module(tmp_path, data=[str(tmp_path / "test.en"), str(tmp_path / "test.fr")])
    data.tokenizer, data.source_tokenizer = task.tokenizer, task.source_tokenizer
    batches = data.scored_batches("whole")
    with quiet():
        (found,) = trainer(1, limit_val_batches=1.0).validate(task, loader(batches), verbose=False)
    rows = data.corpus.rows("whole")
    assert sorted(itertools.chain(*(batches[0, k].references for k in range(len(batches))))) == sorted(rows["target"])
    greedy = [best[0].text if best else "" for best in task.translate(rows["source"], Beam(size=1))]
    assert found["val/bleu"] == pytest.approx(corpus_scores(greedy, rows["target"])["bleu"], abs=1e-3)
    assert found["val/exact_match"] == pytest.approx(corpus_scores(greedy, rows["target"])["exact_match"])


def test_token_accuracy_is_the_share_of_all_targets(files: Path, run: Path) -> None:
    task = load(run)
    torch.nn.init.normal_(task.head.weight[-3:].data)  # type: ignore[union-attr,operator,index]  # or it would be perfect
    batches = loader(module(files).scored_batches("validation", Replica()))
    with quiet():
        (found,) = trainer(1, limit_val_batches=1.0).validate(task, batches, verbose=False)
    right = total = 0
    for batch in batches:
        targets, likeliest = batch.targets, task.eval()(batch)[0].argmax(-1)
        right += int((targets == likeliest).sum())
        total += int((targets != IGNORE).sum())
    assert found["val/token_accuracy"] == pytest.approx(right / total)
    assert 0.2 < right / total < 1


def test_sums_of_sentences_are_sacrebleus_corpus_figure() -> None:
    ours = ["the cat sat on a mat .", "hello there", "a b c d e", ""]
    theirs = ["the cat sat on the mat .", "hello world", "a b c d e f", "x"]
    metric = TranslationMetrics()
    for part in (slice(0, 1), slice(1, 4)):
        metric.update(ours[part], theirs[part])
    found, wanted = metric.compute(), corpus_scores(ours, theirs)
    assert float(found["bleu"]) == pytest.approx(wanted["bleu"], abs=1e-4)
    assert float(found["chrf"]) == pytest.approx(wanted["chrf"], abs=1e-4)
    assert float(found["exact_match"]) == wanted["exact_match"] == 0
    table = bleu_by_length(["one two", "one " * 12, "one " * 60, "x"], ours, theirs)
    assert [(row["from"], row["to"], row["sentences"]) for row in table] == [(0, 5, 2), (10, 15, 1), (50, None, 1)]
