"""The built-in parallel corpus: deterministic, split without leaks, in two languages really."""

import itertools
import random
import re

import babel
import pytest

from seqmodels.data.parallel_corpora import load_parallel
from seqmodels.data.phrases import _draw, _plain, pairs
from seqmodels.errors import InputError


@pytest.fixture(scope="module")
def german() -> dict[str, list[tuple[str, str]]]:
    corpus = load_parallel("phrases", "en", "de")
    return {
        split: list(zip(rows["source"], rows["target"], strict=True))
        for split in ("train", "validation", "test")
        for rows in [corpus.rows(split)]
    }


def test_there_are_many_and_none_leaks(german: dict[str, list[tuple[str, str]]]) -> None:
    sources = {split: [source for source, _ in found] for split, found in german.items()}
    assert len(sources["train"]) > 15_000
    assert min(len(sources["validation"]), len(sources["test"])) > 500
    every = [source for found in sources.values() for source in found]
    assert len(set(every)) == len(every)


def test_some_years_are_held_out_as_a_whole(german: dict[str, list[tuple[str, str]]]) -> None:
    def years(split: str) -> set[str]:
        return {year for source, _ in german[split] for year in re.findall(r", ((?:19|20)\d\d)$", source)}

    assert years("validation") - years("train")
    assert not years("validation") & years("test")


def test_they_are_translations(german: dict[str, list[tuple[str, str]]]) -> None:
    together = dict(german["train"])
    months = [target for source, target in together.items() if re.search(r"\bMarch\b", source)]
    assert months
    assert all("März" in target for target in months)
    assert sum(one != other for one, other in together.items()) > 0.8 * len(together)
    for text in [*together, *together.values()]:
        assert text == " ".join(text.split())
        assert not re.search(r"(duration|length|mass|volume)-\w", text)


def test_a_source_has_one_translation(german: dict[str, list[tuple[str, str]]]) -> None:
    """Also among phrases that were not drawn for the corpus; of those with two, none is there."""
    locales = [babel.Locale(name) for name in ("en", "de")]
    chance = random.Random(1)
    translations: dict[str, set[str]] = {}
    for source, target in itertools.chain(*german.values()):
        translations.setdefault(source, set()).add(target)
    again = 0
    for _ in range(4000):
        phrase = _draw(chance)
        source, target = (_plain(phrase.write(locale)) for locale in locales)
        if source in translations:
            translations[source].add(target)
            again += 1
    assert again > 300
    assert [found for found in translations.items() if len(found[1]) > 1] == []
    assert not any(re.fullmatch(r"[A-Z][a-z]{2} \d+, \d{4}", source) for source in translations)


def test_they_are_always_the_same() -> None:
    first = list(pairs("en", "ja", "test", ""))
    assert first == list(pairs("en", "ja", "test", ""))
    assert any("年" in row["target"] for row in first)


def test_a_language_that_is_not_there_is_refused() -> None:
    with pytest.raises(InputError, match=r"no language 'klingon'; there are .*de.*en"):
        load_parallel("phrases", "en", "klingon")
