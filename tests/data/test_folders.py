"""Folders as they lie around on disks: names, languages, links, and what systems leave."""

import gzip
import os
from pathlib import Path

import pytest

from seqmodels.data import Corpus, TextDataModule, load_corpus
from seqmodels.data.corpora import HeldOut
from seqmodels.data.folders import split_of, walk
from seqmodels.data.parallel_corpora import load_parallel
from seqmodels.errors import InputError


def write(folder: Path, names: list[str], text: str | None = None) -> Path:
    """Files that hold their own names, or a text."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        content = f"{name} {name}\n" if text is None else text
        path.write_bytes(gzip.compress(content.encode()) if path.suffix == ".gz" else content.encode())
    return folder


def files_of(corpus: Corpus) -> dict[str, set[str]]:
    """The names of the files that each split is made of, but for `whole`."""
    texts = {split: "".join(corpus.rows(split)["text"]).split() for split in corpus.splits if split != "whole"}
    return {split: set(found) for split, found in texts.items()}


@pytest.mark.parametrize(
    ("name", "split"),
    [
        *[
            (name, "train")
            for name in ("ptb.train.txt", "wiki.train.tokens", "train2016.txt", "my-train.md", "a/TRAIN")
        ],
        *[
            (name, "validation")
            for name in ("ptb.valid.txt", "wiki.dev.raw", "val_2.txt", "newsdev2014", "dev/train/x.py")
        ],
        *[(name, "test") for name in ("data.test.txt", "test-1.txt", "my_test.txt", "newstest2014.en", "x/test/a.txt")],
        *[(name, None) for name in ("latest.txt", "contest.md", "train_test.txt", "a/train.py", "valley.txt", "x")],
    ],
)
def test_a_split_is_any_part_of_a_name(name: str, split: str | None) -> None:
    assert split_of(Path(name)) == split


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        (
            ["ptb.train.txt", "ptb.valid.txt", "ptb.test.txt"],
            {"train": {"ptb.train.txt"}, "validation": {"ptb.valid.txt"}, "test": {"ptb.test.txt"}},
        ),
        (
            ["wiki.train.tokens", "wiki.valid.tokens", "wiki.test.tokens", "README"],
            {"train": {"wiki.train.tokens"}, "validation": {"wiki.valid.tokens"}, "test": {"wiki.test.tokens"}},
        ),
        (
            ["train", "valid.txt", "test-1.txt", "test-2.txt.gz"],
            {
                "train": {"train"}, "validation": {"valid.txt"}, "test": {"test-1.txt", "test-2.txt.gz"},
                "test-1": {"test-1.txt"}, "test-2": {"test-2.txt.gz"},
            },
        ),
        (
            ["train.txt", "dev.txt", "test-00000-of-00002.txt", "test-00001-of-00002.txt"],
            {
                "train": {"train.txt"}, "validation": {"dev.txt"},
                "test": {"test-00000-of-00002.txt", "test-00001-of-00002.txt"},
            },
        ),
    ],
)  # fmt: skip
def test_splits_of_a_folder(names: list[str], wanted: dict[str, set[str]], tmp_path: Path) -> None:
    assert files_of(load_corpus(str(write(tmp_path, names)))) == wanted


def test_code_is_no_split_by_its_name(tmp_path: Path) -> None:
    """Nor is what configures it a table."""
    names = ["train.py", "model.py", "config/train_gpt2.py", "test_io.c", "test/unit.py", "README.md"]
    corpus = load_corpus(str(write(tmp_path, [*names, "package.json"])))
    assert "".join(corpus.rows("whole")["text"]).split()[::2] == sorted(names)
    assert corpus.origin == f"6 files in {tmp_path.name}; left out: package.json"
    by_folder = load_corpus(str(write(tmp_path / "own", ["train/a.py", "test/b.py", "valid/train.py"])))
    assert files_of(by_folder) == {"train": {"train/a.py"}, "test": {"test/b.py"}, "validation": {"valid/train.py"}}


def test_what_is_left_out_is_told(tmp_path: Path) -> None:
    write(tmp_path, ["train.txt", "valid.txt", "a.md", "b.doc", "c.png", "d.txt"])
    write(tmp_path, ["empty/__init__.py", "train_2.txt"], "")
    write(tmp_path, ["train_3.txt.gz"], "")
    corpus = load_corpus(str(tmp_path))
    assert files_of(corpus) == {"train": {"train.txt"}, "validation": {"valid.txt"}}
    told = "; left out: a.md, d.txt, b.doc and 1 more; empty: __init__.py, train_2.txt, train_3.txt.gz"
    assert corpus.origin == f"2 files in {tmp_path.name}{told}"
    with pytest.raises(InputError, match=r"all 1 files in .* are empty"):
        load_corpus(str(write(tmp_path / "nothing", ["a.txt"], "")))


def test_a_pattern_leaves_out_what_is_no_text(tmp_path: Path) -> None:
    write(tmp_path, ["fortunes", "page.htm"])
    (tmp_path / "fortunes.dat").write_bytes(b"\0\0\0\2ab")
    (tmp_path / "picture").write_bytes(b"\x89PNG\r\n")
    assert load_corpus(str(tmp_path)).origin.startswith("1 file in")  # .htm as .html
    corpus = load_corpus(str(tmp_path / "*"))
    assert corpus.origin.endswith("; left out: fortunes.dat, picture")
    assert corpus.origin.startswith("2 files in")
    with pytest.raises(InputError, match=r"picture' is a picture \(PNG\)"):
        load_corpus(str(tmp_path / "pic*")).rows("whole")
    (tmp_path / "wide").write_bytes("text".encode("utf-16"))  # text, which the user wants
    with pytest.raises(InputError, match="wide' is UTF-16"):
        load_corpus(str(tmp_path / "*")).rows("whole")


def test_what_systems_and_editors_leave_is_no_data(tmp_path: Path) -> None:
    left = [
        ".DS_Store", "._a.txt", ".ipynb_checkpoints/a.txt", "__MACOSX/a.txt", "Thumbs.db", "a.txt~", "~$a.txt",
        "#a.txt#", ".git/a.txt", "node_modules/a/b.md", "__pycache__/a.py", "lib/site-packages/a.py",
    ]  # fmt: skip
    write(tmp_path, ["a.txt", *left])
    assert walk(tmp_path) == [tmp_path / "a.txt"]


def test_links_are_followed_once(tmp_path: Path) -> None:
    data = write(tmp_path / "data", ["b/a.txt", "b/c.txt"])
    outside = write(tmp_path / "outside", ["deep/d.txt"])
    for name, target in {"a": data / "b", "up": data, "e": outside, "f": outside / "deep", "gone": data / "x"}.items():
        (data / name).symlink_to(target)
    (data / "again.txt").symlink_to(data / "b" / "a.txt")
    os.link(data / "b" / "c.txt", data / "hard.txt")
    found = [str(path.relative_to(data)) for path in walk(data)]
    assert len(found) == 3
    assert {os.stat(data / name).st_ino for name in found} == {
        os.stat(path).st_ino for path in (data / "b/a.txt", data / "b/c.txt", outside / "deep/d.txt")
    }
    assert "b/a.txt" in found


@pytest.mark.parametrize("link", ["up", "../there/up", "deep/er/up"])
def test_links_upward_are_not_followed(link: str, tmp_path: Path) -> None:
    """As in folders of emulators, in which a drive is the whole disk."""
    (tmp_path / "other.txt").write_text("not of the folder")
    here = tmp_path / "there"
    (here / link).parent.mkdir(parents=True, exist_ok=True)
    (here / "a.txt").write_text("of the folder")
    (here / link).symlink_to(tmp_path if link == "up" else "/")
    assert walk(here) == [here / "a.txt"]


def test_pipes_are_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.txt")
    pipe = str(tmp_path / "pipe.txt")
    for read in (
        lambda: load_corpus(pipe),
        lambda: load_parallel([pipe, pipe], "en", "fr"),
        lambda: TextDataModule(pipe, stream=True, tokenizer="byte").facts("train"),
    ):
        with pytest.raises(InputError, match="is no regular file"):
            read()
    with pytest.raises(InputError, match="holds no text"):
        load_corpus(str(tmp_path))


def test_a_folder_without_text_says_what_it_holds(tmp_path: Path) -> None:
    write(tmp_path / "logs", ["a.log", "b.log", "c", "d"])
    with pytest.raises(InputError, match=r"; found a\.log, b\.log, c and 1 more; '.*logs/\*' reads files of any name"):
        load_corpus(str(tmp_path / "logs"))
    assert files_of(load_corpus(str(tmp_path / "logs" / "*"), held_out=HeldOut(0.1)))


# Pairs


@pytest.mark.parametrize(
    ("code", "written"),
    [
        ("zh-CN", "zh-CN"),
        ("zh-CN", "zh_cn"),
        ("pt_BR", "pt-BR"),
        ("sr_Latn", "sr_Latn"),
        ("de", "DE"),
        ("fr", "fr.txt"),
    ],
)
def test_languages_as_people_write_them(code: str, written: str, tmp_path: Path) -> None:
    write(tmp_path, ["train.en", f"train.{written}", "dev.en.gz", f"dev.{written}.gz"])
    corpus = load_parallel(str(tmp_path), "en", code)
    assert corpus.rows("train")["target"][:] == [f"train.{written} train.{written}"]
    assert corpus.rows("validation")["source"][:] == ["dev.en.gz dev.en.gz"]


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("train_en.txt", "train_fr.txt"), ("en.train.txt", "fr.train.txt"), ("en/train.txt", "fr/train.txt"),
        ("src-train.txt", "tgt-train.txt"), ("train.src", "train.trg"), ("train.source", "train.target"),
        ("en.txt.gz", "fr.txt.gz"), ("EN_train.txt", "FR_train.txt"), ("corpus.en-fr.en", "corpus.en-fr.fr"),
        ("en-fr/en.txt", "en-fr/fr.txt"), ("text-en-1.txt", "text-fr-1.txt"), ("en.train", "fr.train"),
    ],
)  # fmt: skip
def test_sides_by_any_part_of_a_name(source: str, target: str, tmp_path: Path) -> None:
    write(tmp_path, [source], "a\nb\n" * 50)
    write(tmp_path, [target], "c\nd\n" * 50)
    write(tmp_path, ["notes.xml", "test.en.xml"])
    corpus = load_parallel(str(tmp_path), "en", "fr", held_out=HeldOut(0.5))
    assert corpus.origin.endswith("en to fr; left out: notes.xml, test.en.xml")
    rows = corpus.rows("whole")
    assert (rows[0], len(rows)) == ({"source": "a", "target": "c"}, 100)


def test_a_lone_half_is_named(tmp_path: Path) -> None:
    write(tmp_path, ["train.en", "train.fr", "val.en", "valid.fr", "other.en", "other.fr"], "a\nb\nc\nd\n" * 9)
    corpus = load_parallel(str(tmp_path), "en", "fr")
    told = "left out: other.en, other.fr; without the other side: val.en, valid.fr"
    assert corpus.origin == f"{tmp_path.name}, en to fr; {told}"


def test_several_pairs_of_files_for_a_split(tmp_path: Path) -> None:
    """Parts of a training text are joined; test sets are also for themselves."""
    names = ["a.train", "b.train", "val", "test_2016", "test_2017"]
    write(tmp_path, [f"{name}.{language}" for name in names for language in ("en", "fr")])
    corpus = load_parallel(str(tmp_path), "en", "fr")
    assert corpus.test_sets == ["test_2016", "test_2017"]
    assert corpus.rows("train")["target"][:] == ["a.train.fr a.train.fr", "b.train.fr b.train.fr"]
    assert corpus.rows("test_2017")["source"][:] == ["test_2017.en test_2017.en"]
    assert (
        corpus.rows("test")["source"][:]
        == corpus.rows("test_2016")["source"][:] + corpus.rows("test_2017")["source"][:]
    )


def test_pairs_without_a_name_of_a_split_are_trained_on(tmp_path: Path) -> None:
    write(tmp_path, ["Europarl.en-fr.en", "Europarl.en-fr.fr"], "a\nb\nc\nd\ne\nf\n" * 3)
    assert len(load_parallel(str(tmp_path), "en", "fr").rows("whole")) == 18
