"""The subcommand `embeddings`: what word vectors, or those of a model, know about words."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from seqmodels.analysis.projection import Method, draw_map, map_of
from seqmodels.analysis.word_senses import compare_senses, draw_senses
from seqmodels.checkpoints.load import load
from seqmodels.errors import InputError
from seqmodels.files import local, read_small
from seqmodels.interop.word_vectors.vectors import Neighbour, WordVectors
from seqmodels.tasks import LanguageModel, Translator

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ON_MAP = 200
"""Words on a map where none are named."""
PICTURES = ".png", ".svg", ".pdf"


def embeddings(
    source: str,
    near: tuple[str, ...] | None = None,
    analogy: tuple[str, ...] | None = None,
    questions: str | None = None,
    map: str | None = None,
    words: tuple[str, ...] | None = None,
    pairs: tuple[str, ...] | None = None,
    method: Method = "pca",
    senses: tuple[str, ...] | None = None,
    senses_map: str | None = None,
    layer: str | None = None,
    k: int = 10,
    limit: int | None = None,
    lowercase: bool = False,
) -> None:
    """Ask word vectors, or the embedding of a trained model, what lies near and what is to one word as another is to a
    third; draw a map; or compare the vectors in context of a word with several senses.

    Args:
        source: a file of word2vec, GloVe or fastText, or a run folder or checkpoint, whose own embedding is meant.
        near: words whose neighbours are printed.
        analogy: three words, man king woman, for what is to the third as the second is to the first.
        questions: a file in the format of questions-words.txt, to be answered by analogy, with accuracy by section.
        map: a picture to be written (.png, .svg or .pdf), with words in the plane.
        words: those on the map, the first 200 where not given, and words of --near with their neighbours.
        pairs: words for arrows on the map, two for each.
        method: of the map, principal components or t-SNE, which needs scikit-learn.
        senses: a word, and a file with a sense, a tab and a sentence with the word on each line; needs a run.
        senses_map: a picture of their cosines to be written.
        layer: whose vectors are compared, such as 1.h; the last one's where not given.
        k: how many neighbours.
        limit: read no more than so many words.
        lowercase: take the questions in lower case.
    """
    if analogy is not None and len(analogy) != 3:
        raise InputError(f"--analogy was given {len(analogy)} words; expected three, such as man king woman")
    if pairs is not None and len(pairs) % 2:
        raise InputError(f"--pairs was given {len(pairs)} words; expected two for each arrow")
    if senses is not None and len(senses) != 2:
        raise InputError(f"--senses was given {len(senses)} words; expected a word and a file")
    for flag, picture in (("--map", map), ("--senses-map", senses_map)):
        if picture is not None:
            _check_picture(flag, picture)
    if senses is None and (senses_map is not None or layer is not None):
        raise InputError(f"{'--layer' if senses_map is None else '--senses-map'} is of --senses; give that, too")
    if map is None and (words is not None or pairs is not None):
        raise InputError(f"{'--pairs' if words is None else '--words'} is for a map; give --map FILE, too")
    task = _model(source)
    vectors = WordVectors.read(source, limit) if task is None else WordVectors.of(task, limit)
    print(f"{len(vectors):,} words, {vectors.matrix.shape[1]} dimensions")
    for word in near or ():
        _print(f"near {word}", vectors.neighbours(word, k))
    if analogy is not None:
        a, b, c = analogy
        _print(f"{a} is to {b} as {c} is to", vectors.analogy(a, b, c, k))
    if questions is not None:
        for name, found in vectors.evaluate(questions, lowercase).items():
            print(f"{name:<30} {found.fraction:6.1%} of {found.asked:,} right; {found.left_out:,} left out")
    if map is not None:
        arrows = list(zip((pairs or ())[::2], (pairs or ())[1::2], strict=True))
        chosen = _on_map(vectors, near or (), words or (), pairs or (), k)
        _save(draw_map(map_of(vectors.vectors(chosen), method), chosen, arrows), map)
    if senses is not None:
        _compare(task, *senses, layer, senses_map)


def _model(source: str) -> LanguageModel | Translator | None:
    """The model of a run or checkpoint; None where the path is of a file of vectors."""
    path = local(source)
    if not path.is_dir() and path.suffix not in (".ckpt", ".safetensors"):
        return None
    task = load(path)
    if not isinstance(task, LanguageModel | Translator):
        raise InputError(f"{source!r} is a {type(task).__name__}, which has no embedding of words")
    return task


def _print(title: str, found: Sequence[Neighbour]) -> None:
    print(f"{title}:")
    for word, score in found:
        print(f"  {score:6.3f}  {'⏎' if word == chr(10) else word}")


def _on_map(vectors: WordVectors, near: Sequence[str], words: Sequence[str], pairs: Sequence[str], k: int) -> list[str]:
    around = [one.word for word in near for one in vectors.neighbours(word, k)]
    return list(dict.fromkeys([*pairs, *words, *near, *around])) or vectors.words[:ON_MAP]


def _compare(
    task: LanguageModel | Translator | None, word: str, file: str, layer: str | None, picture: str | None
) -> None:
    """Print, and draw, how near the occurrences of a word are to each other, within and between its senses."""
    if not isinstance(task, LanguageModel):
        raise InputError("--senses needs the run of a language model, whose layers read the sentences")
    sentences: dict[str, list[str]] = {}
    for number, line in enumerate(read_small(local(file)).splitlines(), 1):
        sense, tab, sentence = line.partition("\t")
        if line.strip() and not tab:
            raise InputError(f"line {number} of {file!r} has no tab; expected a sense, a tab and a sentence")
        if tab:
            sentences.setdefault(sense, []).append(sentence)
    found = compare_senses(task, sentences, word, layer)
    print(f"{word} in layer {found.layer}: {len(found.senses)} occurrences of {len(sentences)} senses")
    print(f"  {found.within:6.3f}  mean cosine within a sense")
    print(f"  {found.between:6.3f}  mean cosine between senses")
    print(f"  {found.nearest:6.1%} have one of their own sense nearest")
    if picture is not None:
        _save(draw_senses(found), picture)


def _check_picture(flag: str, path: str) -> None:
    place = local(path)
    if place.suffix not in PICTURES:
        raise InputError(f"{flag} was given {path!r}; expected a file that ends in one of {', '.join(PICTURES)}")
    if not place.absolute().parent.is_dir() or place.is_dir():
        raise InputError(f"{flag} was given {path!r}, and there is no such folder to write into; make it first")


def _save(figure: "Figure", path: str) -> None:
    figure.savefig(Path(local(path)))
    print(f"picture  {path}")
