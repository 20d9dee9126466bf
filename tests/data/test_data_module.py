"""From a file to batches, the way a trainer asks for them."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from batches import epoch_of, same

from seqmodels.batch import BOS, EOS, IGNORE, PAD
from seqmodels.config import construct
from seqmodels.data import (
    DocumentWindows,
    Lanes,
    Replica,
    ScoredDocuments,
    ScoredLanes,
    ScoredWindows,
    TextDataModule,
    Tokenizer,
    Windows,
)
from seqmodels.data.sampler import loader
from seqmodels.data.targets import choose_targets
from seqmodels.errors import InputError


def make(text_file: Path, **options: Any) -> TextDataModule:
    return TextDataModule(str(text_file), **{"length": 16, "batch_size": 4, "seed": 3} | options)


def test_windows_of_the_training_text(text: str, text_file: Path) -> None:
    data = make(text_file)
    train = text[: len(text) * 9 // 10]
    batches = list(data.train_dataloader())
    windows = Windows(data.tokens("train"), 16, 4, 16, True, 3, Replica())
    assert same(batches, epoch_of(windows))
    read = [data.tokenizer.decode(row) for batch in batches for row in batch.inputs.tolist()]
    assert len(read) == len(train) // 16 // 4 * 4
    assert all(row in train for row in read)
    assert read != sorted(read, key=train.index)
    assert not any(batch.continues or batch.continued for batch in batches)


def test_windows_in_order_are_the_text(text: str, text_file: Path) -> None:
    data = make(text_file, shuffle=False)
    read = [data.tokenizer.decode(row) for batch in data.train_dataloader() for row in batch.targets.tolist()]
    assert text.startswith("".join(read))


def test_stride(text_file: Path) -> None:
    whole, half = make(text_file), make(text_file, stride=8)
    assert len(half.training_batches()) == pytest.approx(2 * len(whole.training_batches()), abs=1)
    assert len(make(text_file, stride=16).training_batches()) == len(whole.training_batches())


def test_carried_lanes_of_the_training_text(text: str, text_file: Path) -> None:
    data = make(text_file, carry=True)
    batches = list(data.train_dataloader())
    lanes = Lanes(data.tokens("train"), 16, 4, 3, Replica())
    assert same(batches, epoch_of(lanes))
    assert [batch.continues for batch in batches] == [False] + [True] * (len(batches) - 1)
    for row in range(4):
        assert data.tokenizer.decode(torch.cat([batch.targets[row] for batch in batches]).tolist()) in text


@pytest.mark.parametrize("carry", [False, True])
@pytest.mark.parametrize("world", [1, 3])
def test_validation_scores_every_token_once(text: str, text_file: Path, carry: bool, world: int) -> None:
    data = make(text_file, carry=carry)
    ranks = [data.scored_batches("validation", Replica(rank, world)) for rank in range(world)]
    assert all(isinstance(rank, ScoredLanes if carry else ScoredWindows) for rank in ranks)
    targets = torch.cat([batch.targets.flatten() for rank in ranks for batch in epoch_of(rank)])
    scored = targets[targets != IGNORE].tolist()
    assert len(scored) == data.facts("validation").tokens == len(text) - len(text) * 9 // 10
    assert sorted(scored) == sorted(data.tokenizer.encode(text[len(text) * 9 // 10 :]))
    if world == 1:
        assert same(list(data.val_dataloader()), epoch_of(ranks[0]))


def test_test_split(tmp_path: Path) -> None:
    for name, letter in {"train": "a", "valid": "b", "test": "c"}.items():
        (tmp_path / f"{name}.txt").write_text(letter * 40)
    data = make(tmp_path, tokenizer="byte", length=8)
    for batches, letter in [(data.val_dataloader(), "b"), (data.test_dataloader(), "c")]:
        targets = torch.cat([batch.targets.flatten() for batch in batches])
        assert data.tokenizer.decode(targets[targets != IGNORE].tolist()) == letter * 40


@pytest.mark.parametrize(("tokenizer", "vocab_size"), [("char", None), ("byte", 260), ("bpe", 270)])
def test_tokenizers(text: str, text_file: Path, tokenizer: str, vocab_size: int | None) -> None:
    data = make(text_file, tokenizer=tokenizer, vocab_size=270 if tokenizer == "bpe" else None)
    train = text[: len(text) * 9 // 10]
    assert data.tokenizer.vocab_size == (vocab_size or 4 + len(set(train)))
    assert data.tokens("train")[0] == BOS
    assert data.tokenizer.decode(data.tokens("train").tolist()) == train
    assert data.facts("train").characters == len(train)
    assert data.facts("train").tokens == len(data.tokens("train")) - 1


@pytest.mark.parametrize("tokenizer", ["char", "bpe"])
def test_tokenizer_knows_the_training_text_only(tokenizer: str, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("a" * 90 + "qu" * 5)
    data = make(tmp_path / "text.txt", tokenizer=tokenizer)
    if tokenizer == "char":
        assert data.tokenizer.unknown("aqu") == "qu"
        assert data.facts("validation").unknown == 10
    else:
        assert len(data.tokenizer.encode("ququ")) == 4
        assert len(data.tokenizer.encode("aaaa")) < 4


def test_tokenizer_that_is_there_already(text_file: Path) -> None:
    mine = Tokenizer.char(["etaoin"])
    data = make(text_file, tokenizer=mine)
    assert data.tokenizer is mine
    assert data.facts("train").unknown > 0


@pytest.mark.parametrize("carry", [False, True])
def test_seed_decides_the_order(text_file: Path, carry: bool) -> None:
    one, again, other = (list(make(text_file, carry=carry, seed=s).train_dataloader()) for s in (5, 5, 6))
    assert same(one, again)
    assert not same(one, other)


@pytest.mark.parametrize("carry", [False, True])
def test_resumed_in_the_middle(text_file: Path, carry: bool) -> None:
    """The rest of that epoch, then whole ones: what a run would have read that was never stopped."""
    data = make(text_file, carry=carry)
    batches = data.training_batches()
    data.load_state_dict({"place": [2, 3]})
    loaded = data.train_dataloader()
    assert same(list(loaded), epoch_of(batches, 2, 3))
    loaded.sampler.set_epoch(3)  # type: ignore[attr-defined]
    assert same(list(loaded), epoch_of(batches, 3))
    assert same(list(data.train_dataloader()), epoch_of(batches))


def test_without_a_trainer_there_is_no_place(text_file: Path) -> None:
    assert make(text_file).state_dict() == {}


@pytest.mark.parametrize("tokenizer", ["char", Tokenizer.char(["the state"])])
def test_rebuilt_from_its_record(text_file: Path, tokenizer: str | Tokenizer) -> None:
    data = make(text_file, tokenizer=tokenizer, carry=True, val_fraction=0.2)
    record = json.loads(json.dumps(data.constructor_call))
    assert record["class_path"] == "seqmodels.TextDataModule"
    assert record["init_args"]["data"] == str(text_file)
    assert record["init_args"]["stride"] is None
    again = construct(record, TextDataModule)
    assert same(list(again.train_dataloader()), list(data.train_dataloader()))
    assert again.facts("validation") == data.facts("validation")
    assert again.tokenizer.json == data.tokenizer.json


def test_words(text: str, text_file: Path) -> None:
    data = make(text_file, tokenizer="word", length=4)
    train = text[: len(text) * 9 // 10]
    assert data.tokenizer.vocab_size == 4 + 1 + len(set(train.split()))
    assert data.tokenizer.decode(data.tokens("train").tolist()) == train
    assert make(text_file, tokenizer="word", vocab_size=9).tokenizer.vocab_size == 9
    counts = Counter(train.split())
    often = make(text_file, tokenizer="word", min_count=40, length=4).tokenizer
    assert often.vocab_size == 5 + sum(count >= 40 for count in counts.values())


CONTRADICTIONS: list[tuple[dict[str, Any], str]] = [
    ({"carry": True, "shuffle": True}, "carry=True and shuffle=True"),
    ({"carry": True, "shuffle": False}, "carry=True and shuffle=False"),
    ({"carry": True, "stride": 4}, "carry=True and stride=4"),
    ({"carry": True, "documents": "apart"}, "carry=True and documents='apart'"),
    ({"documents": "apart", "bos": False}, "documents='apart' and bos=False"),
    ({"stream": True, "carry": True}, "stream=True and carry=True"),
    ({"stream": True, "documents": "apart"}, "stream=True and documents='apart'"),
    ({"stream": True, "stride": 8, "length": 7}, "stream=True and stride=8 for length=7"),
    ({"stream": True, "num_workers": 1}, "stream=True and num_workers=1"),
]


@pytest.mark.parametrize(
    ("options", "message"),
    [(options, f"{named} contradict each other, since .*; leave out one") for options, named in CONTRADICTIONS]
    + [({n: v}, f"{n}={v} was given; expected at least 1") for n in ("length", "batch_size", "stride") for v in (0, -1)]
    + [({"tokenizer": name}, f"tokenizer '{name}' is not known; choose char, byte") for name in ("words", "", "BPE")]
    + [({"tokenizer": n, "min_count": 2}, f"min_count=2 .* tokenizer='{n}'; .* word only") for n in ("char", "bpe")]
    + [
        ({name: value}, f"targets='{value}' was given; expected all, last, last:K or every:K")
        for name in ("targets", "scored_targets")
        for value in ("", "first", "last:0", "last:-1", "every", "every:", "all:3", "every:2x", "last:1.5")
    ]
    + [({"documents": "alone"}, "documents='alone' was given; choose joined or apart")],
)
def test_refused(text_file: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make(text_file, **options)


@pytest.fixture(scope="module")
def tales(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Documents of 0 to 39 characters."""
    path = tmp_path_factory.mktemp("tales") / "tales.jsonl"
    path.write_text("".join(json.dumps({"text": "abcde fg"[n % 8] * n}) + "\n" for n in range(40)))
    return path


@pytest.mark.parametrize("world", [1, 3])
@pytest.mark.parametrize("eos", [False, True])
def test_documents_apart(tales: Path, eos: bool, world: int) -> None:
    data = make(tales, documents="apart", eos=eos, val_fraction=0.5, length=8)
    ranks = [data.training_batches(Replica(rank, world)) for rank in range(world)]
    assert all(isinstance(rank, DocumentWindows) for rank in ranks)
    for batch in (batch for rank in ranks for batch in epoch_of(rank)):
        for row in batch.inputs.tolist():
            letters = set(row) - {PAD, BOS, EOS}
            assert len(letters) <= 1  # of one document
            assert EOS not in row[:-1] or PAD in row[row.index(EOS) + 1 :]
    scored = [data.scored_batches("validation", Replica(rank, world)) for rank in range(world)]
    assert all(isinstance(rank, ScoredDocuments) for rank in scored)
    targets = torch.cat([batch.targets.flatten() for rank in scored for batch in epoch_of(rank)])
    column = data.tokens("validation")
    assert sorted(targets[targets != IGNORE].tolist()) == sorted(column[column != BOS].tolist())
    strided = data.scored_batches("validation", stride=3)
    targets = torch.cat([batch.targets.flatten() for batch in epoch_of(strided)])
    assert sorted(targets[targets != IGNORE].tolist()) == sorted(column[column != BOS].tolist())


@pytest.mark.parametrize("carry", [False, True])
@pytest.mark.parametrize("targets", ["last", "last:3", "every:4"])
def test_chosen_targets_in_training_only(text_file: Path, carry: bool, targets: str) -> None:
    data, whole = make(text_file, carry=carry, targets=targets), make(text_file, carry=carry)
    for mine, all_of_them in zip(data.train_dataloader(), whole.train_dataloader(), strict=True):
        assert torch.equal(mine.targets, choose_targets(all_of_them.targets, targets))
        assert torch.equal(mine.inputs, all_of_them.inputs)
        assert mine[2:] == all_of_them[2:]
    assert same(list(data.val_dataloader()), list(whole.val_dataloader()))
    asked = make(text_file, carry=carry, scored_targets=targets)
    assert same(list(asked.train_dataloader()), list(whole.train_dataloader()))
    in_rows = loader(whole.scored_batches("validation", piece=asked.length))  # of as many tokens as in training
    for mine, all_of_them in zip(asked.val_dataloader(), in_rows, strict=True):
        assert torch.equal(mine.targets, choose_targets(all_of_them.targets, targets))


def test_nothing_left_to_predict(text_file: Path) -> None:
    make(text_file, targets="every:16").training_batches()
    data = make(text_file, targets="every:17", scored_targets="every:17")
    for replica in (Replica(), Replica(1, 2)):
        for batches in (data.training_batches, lambda replica: data.scored_batches("validation", replica)):
            with pytest.raises(InputError, match="targets='every:17' leaves nothing to predict in this text"):
                batches(replica)


def test_nothing_is_read_before_it_is_asked_for() -> None:
    data = TextDataModule("no/such/file.txt")
    with pytest.raises(InputError, match="there is no file"):
        data.train_dataloader()


@pytest.mark.parametrize(("carry", "message"), [(False, "does not fit a text"), (True, "lanes of at least")])
def test_text_too_short(text_file: Path, carry: bool, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make(text_file, carry=carry, length=10_000).train_dataloader()
