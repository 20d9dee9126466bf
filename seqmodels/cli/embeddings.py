"""The command `embeddings`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from seqmodels.analysis.figures import save_figure
from seqmodels.analysis.projection import Method, draw_map, map_of
from seqmodels.analysis.word_senses import compare_senses, draw_senses
from seqmodels.checkpoints.load import load
from seqmodels.checkpoints.saved import located
from seqmodels.cli.text_io import check_output
from seqmodels.errors import InputError
from seqmodels.files import local, read_small
from seqmodels.interop.word_vectors.vectors import Neighbour, WordVectors
from seqmodels.tasks import LanguageModel, Translator

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ON_MAP = 200
"""Words on a map by default."""
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
    save: str | None = None,
) -> None:
    """Print neighbours and analogies of word vectors, or of the embedding of a trained model; draw a map; or compare
    the contextual vectors of a word with several senses.

    Args:
        source: a file of word2vec, GloVe, fastText or floret, or a run folder or checkpoint.
        near: words whose nearest neighbours are printed.
        analogy: three words, such as man king woman: man is to king as woman is to ...
        questions: a file in the format of questions-words.txt; prints the accuracy of analogies by section.
        map: a picture (.png, .svg or .pdf) of words in the plane.
        words: words on the map; by default the first 200, or those of --near with their neighbours.
        pairs: words joined by arrows on the map, two for each.
        method: of projection: pca, or tsne, which needs scikit-learn.
        senses: a word, and a file with a sense, a tab and a sentence with the word on each line; needs a run.
        senses_map: a picture of the cosines between its occurrences.
        layer: layer of the contextual vectors, such as 1.h; by default the last one.
        k: number of neighbours.
        limit: maximum number of words to read.
        lowercase: compare in lower case.
        save: a file for the vectors as text of word2vec, gzipped if its name ends in .gz.
    """
    if analogy is not None and len(analogy) != 3:
        raise InputError(f"--analogy was given {len(analogy)} words; expected three, such as man king woman")
    if pairs is not None and len(pairs) % 2:
        raise InputError(f"--pairs was given {len(pairs)} words; expected two for each arrow")
    if senses is not None and len(senses) != 2:
        raise InputError(f"--senses was given {len(senses)} words; expected a word and a file")
    if save is not None:
        check_output("--save", save)
    for flag, picture in (("--map", map), ("--senses-map", senses_map)):
        if picture is not None:
            check_output(flag, picture, PICTURES)
    for flag, value, needed, other in (
        ("--senses-map", senses_map, "--senses", senses), ("--layer", layer, "--senses", senses),
        ("--words", words, "--map FILE", map), ("--pairs", pairs, "--map FILE", map),
    ):  # fmt: skip
        if value is not None and other is None:
            raise InputError(f"{flag} was given without {needed}; give that, too")
    task = _model(source)
    vectors = WordVectors.read(source, limit) if task is None else WordVectors.of(task, limit)
    print(f"{len(vectors):,} words, {vectors.matrix.shape[1]} dimensions")
    if save is not None:
        vectors.write(save)
        print(f"vectors  {save}")
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
    """The model of a run or checkpoint; None for a file of vectors."""
    path = located(source)
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
    """Print and draw the similarity of occurrences of a word, within and between its senses."""
    if task is None:
        raise InputError("--senses needs the run of a model, whose layers read the sentences")
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


def _save(figure: "Figure", path: str) -> None:
    save_figure(figure, local(path), dpi=100)
    print(f"picture  {path}")
