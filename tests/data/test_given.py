"""Data that a program gives: datasets, lists, generators, dicts of splits, folders of `save_to_disk`, plain batches."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import datasets
import pytest
import torch
import yaml
from torch.utils.data import DataLoader
from trainers import small_model, small_module, train, trainer

from seqmodels import LSTM, Batch, LanguageModel, TextDataModule, TranslationDataModule, Translator, fit, load
from seqmodels.cli.main import main
from seqmodels.environment import quiet
from seqmodels.errors import InputError

TEXTS = [f"the fox ran after {number} hares, and all of them got away" for number in range(40)]
PAIRS = [(f"{number} foxes", f"{number} renards") for number in range(40)]
SIZES: dict[str, Any] = {"length": 8, "batch_size": 2}
FITTED: dict[str, Any] = {"validations": 1, "diagnostics": False}


@pytest.fixture(autouse=True)
def no_bars() -> Iterator[None]:
    datasets.disable_progress_bars()
    yield
    datasets.enable_progress_bars()


def table() -> datasets.Dataset:
    return datasets.Dataset.from_dict({"text": TEXTS, "number": list(range(len(TEXTS)))})


def by_split() -> dict[str, datasets.Dataset]:
    return {"train": table().select(range(36)), "validation": table().select(range(36, 40))}


WAYS: dict[str, Callable[[Path], Any]] = {
    "list": lambda folder: list(TEXTS),
    "tuple": lambda folder: tuple(TEXTS),
    "generator": lambda folder: (text for text in TEXTS),
    "rows": lambda folder: [{"text": text, "other": 1} for text in TEXTS],
    "dict of lists": lambda folder: {"train": TEXTS[:36], "valid": iter(TEXTS[36:])},
    "Dataset": lambda folder: table(),
    "Dataset as tensors": lambda folder: table().with_format("torch"),
    "Dataset with indices": lambda folder: table().select(range(39, -1, -1)).select(range(39, -1, -1)),
    "DatasetDict": lambda folder: datasets.DatasetDict(by_split()),
    "IterableDataset": lambda folder: table().to_iterable_dataset(num_shards=3),
    "IterableDatasetDict": lambda folder: datasets.IterableDatasetDict(
        {name: part.to_iterable_dataset() for name, part in by_split().items()}
    ),
    "saved Dataset": lambda folder: saved(table(), folder),
    "saved DatasetDict": lambda folder: str(saved(datasets.DatasetDict(by_split()), folder)),
}


def saved(data: Any, folder: Path) -> Path:
    data.save_to_disk(folder / "saved")
    return folder / "saved"


@pytest.mark.parametrize("way", WAYS)
def test_all_ways_give_the_same_text(way: str, tmp_path: Path) -> None:
    data, wanted = TextDataModule(WAYS[way](tmp_path), **SIZES), TextDataModule(table(), **SIZES)
    for split in ("train", "validation"):
        assert data.tokens(split).equal(wanted.tokens(split))
        assert data.facts(split) == wanted.facts(split)
    assert data.training_batches()[0, 3].inputs.equal(wanted.training_batches()[0, 3].inputs)
    if "saved" in way:
        assert not list((tmp_path / "saved").rglob("cache*"))  # nothing is written to the user's folder
    yaml.safe_dump(data.constructor_call)


def test_one_text_is_a_file(tmp_path: Path) -> None:
    text = "\n".join(TEXTS) * 20
    (tmp_path / "text.txt").write_text(text)
    given, file = TextDataModule([text], **SIZES), TextDataModule(tmp_path / "text.txt", **SIZES)
    assert given.splits == file.splits
    for split in file.splits:
        assert given.tokens(split).equal(file.tokens(split))
        assert given.facts(split) == file.facts(split)


def test_a_stream_is_read_in_sequence(tmp_path: Path) -> None:
    stream = table().to_iterable_dataset(num_shards=4)
    data = TextDataModule(stream, stream=True, held_out=4, **SIZES)
    table().to_json(tmp_path / "table.jsonl")
    file = TextDataModule(str(tmp_path / "table.jsonl"), stream=True, held_out=4, shuffle=False, **SIZES)
    again = TextDataModule(stream, stream=True, held_out=4, shuffle=False, **SIZES)
    assert again.training_batches()[0, 5].inputs.equal(file.training_batches()[0, 5].inputs)
    assert data.facts("validation").sha256 == file.facts("validation").sha256
    for other in (table(), TEXTS, saved(table(), tmp_path)):
        with pytest.raises(InputError, match="which is in memory or on disk; leave it out, or give an IterableDataset"):
            TextDataModule(other, stream=True, **SIZES).corpus  # noqa: B018


PAIR_WAYS: dict[str, Callable[[Path], Any]] = {
    "list": lambda folder: PAIRS,
    "generator": lambda folder: (list(pair) for pair in PAIRS),
    "rows": lambda folder: [{"en": one, "fr": other} for one, other in PAIRS],
    "Dataset": lambda folder: datasets.Dataset.from_list([{"en": one, "fr": other} for one, other in PAIRS]),
    "translation": lambda folder: datasets.Dataset.from_dict(
        {"translation": [{"en": one, "fr": other} for one, other in PAIRS]},
        features=datasets.Features({"translation": datasets.Translation(["en", "fr"])}),
    ),
    "IterableDataset": lambda folder: datasets.Dataset.from_list(
        [{"en": one, "fr": other} for one, other in PAIRS]
    ).to_iterable_dataset(),
    "saved": lambda folder: saved(
        datasets.Dataset.from_list([{"en": one, "fr": other} for one, other in PAIRS]), folder
    ),
    "files": lambda folder: files(folder),
}


def files(folder: Path) -> list[Path]:
    for name, side in (("a.en", 0), ("a.fr", 1)):
        (folder / name).write_text("".join(f"{pair[side]}\n" for pair in PAIRS))
    return [folder / "a.en", folder / "a.fr"]


@pytest.mark.parametrize("way", PAIR_WAYS)
def test_all_ways_give_the_same_pairs(way: str, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"source": "en", "target": "fr", "tokenizer": "char", "batch_tokens": 64}
    data = TranslationDataModule(PAIR_WAYS[way](tmp_path), **settings)
    wanted = TranslationDataModule(PAIRS, **settings)
    batch, other = data.training_batches()[0, 0], wanted.training_batches()[0, 0]
    assert batch.inputs.equal(other.inputs)
    assert batch.source is not None
    assert batch.source.equal(other.source)  # type: ignore[arg-type]
    assert data.facts("train") == wanted.facts("train")


def test_the_hash_is_of_both_sides_and_of_the_cuts() -> None:
    turned = [(source[::-1], target) for source, target in PAIRS]
    hashes = {TranslationDataModule(pairs, tokenizer="char").facts("whole").sha256 for pairs in (PAIRS, turned)}
    assert len(hashes) == 2
    together = [TEXTS[0] + TEXTS[1], "", *TEXTS[2:]]
    assert (
        TextDataModule(together, **SIZES).facts("whole").sha256 != TextDataModule(TEXTS, **SIZES).facts("whole").sha256
    )


def made(**columns: Any) -> datasets.Dataset:
    return datasets.Dataset.from_dict(columns)


@pytest.mark.parametrize(
    ("data", "settings", "says"),
    [
        (7, {}, "data=7 of type int was given; expected a path, a hub name, a Dataset"),
        (None, {}, "data=None of type NoneType was given"),
        (b"text", {}, "of type bytes was given"),
        ([], {}, "data is empty; expected text"),
        ("a\nb" * 99, {}, "data is a text of 297 characters, 'a.*; expected a path, a name or a list of texts"),
        ("a" * 300, {}, "data is a text of 300 characters"),
        ({"a", "b"}, {}, r"data is a set, .*; give sorted\(...\) of it"),
        (made, {}, r"data is the function made; give what it returns, made\(\)"),
        (made(text=["a"]).to_pandas(), {}, r"a table of pandas; give datasets.Dataset.from_pandas"),
        (made(text=["a"]).to_pandas()["text"], {}, r"a column of pandas; give list"),
        ({"train": ["a"], "val": ["b"], "dev": ["c"]}, {}, r"splits \['val', 'dev'\], which all mean validation"),
        (["a", 3], {}, "item 2 of data is 3 of type int; expected text"),
        (["a", "\ud800"], {}, "item 2 of data is .* expected text"),
        ([("a", "b")], {}, r"item 1 of data is \('a', 'b'\) of type tuple; expected text"),
        ({"train": ["a"], "extra": ["b"]}, {}, "data has a split 'extra'; expected train, validation and test"),
        ({}, {}, r"data has splits \[\]; expected a split 'train'"),
        (made(body=["a"], n=[1]), {}, r"has columns \['body', 'n'\]; expected the text in column 'text'"),
        (made(text=["a"], n=[1]), {"column": "n"}, "the column 'n' of .* holds .*int64"),
        (made(text=[None, None]), {}, "has no text in column 'text'"),
        (made(text=["a"]), {}, "has 1 rows; expected at least 2"),
        (made(text=["a"]).to_iterable_dataset(), {"column": "b"}, r"has columns \['text'\]; expected .* column 'b'"),
        (datasets.DatasetDict(test=made(text=["a"])), {"subset": "en"}, "subset='en' was given with"),
        ([__file__], {}, "a list is read as texts: give a folder, or a pattern"),
        (["a"], {}, "a text of 1 characters is too short"),
    ],
)  # fmt: skip
def test_what_is_no_data_is_one_sentence(data: Any, settings: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        TextDataModule(data, **SIZES, **settings).training_batches()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ([("a", "b"), ("c",)], r"item 2 of data is \('c',\) of type tuple; expected a pair of texts"),
        ([("a", "b"), 5], "item 2 of data is 5 of type int; expected a pair of texts"),
        (datasets.Dataset.from_dict({"en": ["a"]}), r"has columns \['en'\]; expected the text in column 'fr'"),
        (["a.txt"], "1 files were given as data; expected two"),
    ],
)
def test_what_are_no_pairs_is_one_sentence(data: Any, says: str) -> None:
    with pytest.raises(InputError, match=says):
        TranslationDataModule(data, "en", "fr").corpus  # noqa: B018


def test_a_damaged_folder_is_named(tmp_path: Path) -> None:
    place = saved(table(), tmp_path)
    (place / "state.json").write_text("{")
    with pytest.raises(InputError, match="cannot be read as a dataset of save_to_disk"):
        TextDataModule(place).corpus  # noqa: B018


def weights(run: Path) -> dict[str, torch.Tensor]:
    return dict(load(run / "checkpoints" / "last.safetensors").state_dict())


def test_a_run_resumes_exactly_or_says_why_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def started(data: Any, **settings: Any) -> Path:
        module = TextDataModule(data, **SIZES)
        torch.manual_seed(0)
        model = small_model(module, LSTM(6, 8), schedule="constant", warmup=0.0)
        return fit(model, module, runs=tmp_path, **FITTED, **settings)

    whole, half = started(table(), max_steps=6), started(table(), max_steps=3)
    description = yaml.safe_load((half / "config.yaml").read_text())["data"]["init_args"]["data"]
    assert description == {"given": "Dataset", "rows": 40, "fingerprints": {"train": table()._fingerprint}}
    with pytest.raises(InputError, match="was trained on another text than that of a Dataset of 39 rows now"):
        started(table().select(range(39)), max_steps=6, resume=half)
    shifted = [TEXTS[0] + TEXTS[1][:1], TEXTS[1][1:], *TEXTS[2:]]
    with pytest.raises(InputError, match="was trained on another text"):  # the same characters, other documents
        started(shifted, max_steps=6, resume=half)
    for command in (
        ["fit", "--resume", str(half)],
        ["test", str(half)],
        ["validate", str(half)],
        ["fit", "--config", str(half / "config.yaml")],
    ):
        with pytest.raises(SystemExit) as ended:
            main(command)
        assert ended.value.code == 2
        error = capsys.readouterr().err
        assert f"the data were given in Python (Dataset, 40 rows, fingerprint {table()._fingerprint})" in error
        assert "save_to_disk" in error
        assert error.count("\n") == 1
    place = saved(table(), tmp_path)
    main(["fit", "--resume", str(half), "--data", str(place), "--max-steps", "5"])  # the same, from a file
    started((text for text in TEXTS), max_steps=6, resume=half)  # and from a generator
    for name, tensor in weights(whole).items():
        assert torch.equal(weights(half)[name], tensor)
    capsys.readouterr()
    for words in (["test", str(half), "--split", "validation"], ["validate", str(half)]):
        main([*words, "--data", str(place)])
    scored = capsys.readouterr().out.splitlines()
    assert scored[: len(scored) // 2] == scored[len(scored) // 2 :]
    assert "nats per token" in scored[1]


def test_fit_takes_data_itself(tmp_path: Path) -> None:
    model = small_model(TextDataModule(TEXTS), LSTM(6, 8))
    for data in (TEXTS, table(), (text for text in TEXTS), saved(table(), tmp_path)):
        run = fit(model, data, max_steps=1, runs=tmp_path, **FITTED)
        assert load(run).tokenizer.json == model.tokenizer.json
    pairs = TranslationDataModule(PAIRS, tokenizer="char")
    translator = Translator(LSTM(6, 8), LSTM(6, 8), pairs.tokenizer, pairs.source_tokenizer)
    assert fit(translator, PAIRS, max_steps=1, runs=tmp_path, **FITTED).is_dir()
    with pytest.raises(InputError, match=r"fit\(data=...\) was given 3; expected a SequenceDataModule"):
        fit(model, 3, runs=tmp_path)  # type: ignore[arg-type]


class Endless:
    """An iterable of batches that knows no length."""

    def __init__(self, batches: list[Batch]) -> None:
        self.batches = batches

    def __iter__(self) -> Iterator[Batch]:
        while True:
            yield from self.batches


def test_batches_of_ones_own_loader_train(text_file: Path) -> None:
    """Plain batches, in a list or a `DataLoader`, leave the weights that the data module leaves."""
    data = small_module(text_file, carry=True)
    wanted = small_model(data)
    train(wanted, data, 4)
    batches = [data.training_batches()[0, number] for number in range(4)]
    plain = DataLoader(batches, batch_size=None)  # type: ignore[arg-type, var-annotated]
    workers = DataLoader(batches, batch_size=None, num_workers=1)  # type: ignore[arg-type, var-annotated]
    for loader in (plain, workers, Endless(batches)):
        model = small_model(data)
        with quiet():
            trainer(4).fit(model, loader, plain)
        for ours, theirs in zip(model.parameters(), wanted.parameters(), strict=True):
            assert torch.equal(ours, theirs)
    own = Batch(batches[0].inputs, batches[0].targets)
    with quiet():
        (figures,) = trainer(1, limit_val_batches=1.0).validate(
            wanted, DataLoader([own], batch_size=None), verbose=False
        )
    assert figures["val/nats_per_token"] > 0


def test_another_loader_is_refused_in_one_sentence(text_file: Path) -> None:
    data = small_module(text_file, carry=False)
    model: LanguageModel = small_model(data)
    pair = torch.zeros(2, 8, dtype=torch.long), torch.zeros(2, 8, dtype=torch.long)
    pairs = DataLoader([pair], batch_size=None)  # type: ignore[arg-type, var-annotated]
    for stage in ("fit", "validate"):
        runner = trainer(1, limit_val_batches=1.0, num_sanity_val_steps=0)
        loaders = [pairs, pairs] if stage == "fit" else [pairs]
        with quiet(), pytest.raises(InputError, match=r"gave a list; expected a seqmodels.Batch\(inputs, targets\)"):
            getattr(runner, stage)(model, *loaders)
