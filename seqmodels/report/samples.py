"""The section of what the model wrote while it learned."""

import re
from typing import NamedTuple

from seqmodels.errors import InputError
from seqmodels.report.section import Section, folded, text
from seqmodels.report.subject import Subject

SHOWN = 8
"""Most samples, from all over the run, the first and the last among them."""
CHARACTERS = 1_500
"""Most characters of each."""
LEAD = (
    "What the model wrote on the way, the latest first: at the beginning letters in about the right proportion, then "
    "words, then what belongs together over longer distances."
)
OF_TRANSLATIONS = (
    "Held-out sentences as the model translated them on the way, the latest first: the source, what the model made of "
    "it, and what a person wrote."
)


class Sample(NamedTuple):
    """One entry of `samples.md` or `translations.md`."""

    heading: str
    text: str


def read_samples(page: str) -> list[Sample]:
    """The samples of a `samples.md`: a heading and a fenced block for each."""
    fenced = re.compile(r"^## (step [^\n]*)\n+(`{3,}|~{3,})text\n(.*?)\n\2$", re.MULTILINE | re.DOTALL)
    return [Sample(found[1], found[3]) for found in fenced.finditer(page)]


def read_translations(page: str) -> list[tuple[str, list[tuple[str, str, str]]]]:
    """The entries of a `translations.md`: a heading, and sources with what was made of them and what a person wrote."""
    found: list[tuple[str, list[tuple[str, str, str]]]] = []
    for part in re.split(r"^## ", page, flags=re.MULTILINE)[1:]:
        heading, _, body = part.partition("\n")
        triples = re.findall(r"^- (.*)\n  - \*\*(.*)\*\*\n  - (.*)$", body, re.MULTILINE)
        found.append((heading, triples))
    return found


def some(count: int, most: int) -> list[int]:
    """Numbers below `count`, at most so many, evenly spread, the first and the last among them."""
    if count <= most:
        return list(range(count))
    return [round(place * (count - 1) / (most - 1)) for place in range(most)]


def samples(subject: Subject) -> Section:
    """Samples of a language model, or translations of a translator.

    Raises:
        InputError: it left none.
    """
    if (subject.folder / "translations.md").exists():
        entries = read_translations(subject.file("translations.md"))
        if not entries:
            raise InputError("translations.md has no entry")
        chosen = [entries[place] for place in some(len(entries), SHOWN)][::-1]
        blocks = [folded(heading, _triples(rows), shown=place == 0) for place, (heading, rows) in enumerate(chosen)]
        return Section("samples", "Translations over time", OF_TRANSLATIONS, "".join(blocks))
    found = read_samples(subject.file("samples.md"))
    if not found:
        raise InputError("samples.md has no sample")
    texts = [found[place] for place in some(len(found), SHOWN)][::-1]
    blocks = [
        folded(one.heading, f'<pre tabindex="0">{text(one.text, CHARACTERS)}</pre>', shown=place == 0)
        for place, one in enumerate(texts)
    ]
    return Section("samples", "Samples over time", LEAD, "".join(blocks))


def _triples(rows: list[tuple[str, str, str]]) -> str:
    items = "".join(
        f'<li><span class="source">{text(source, 500)}</span><strong>{text(made, 500)}</strong>'
        f'<span class="reference">{text(reference, 500)}</span></li>'
        for source, made, reference in rows[:20]
    )
    return f'<ul class="translations">{items}</ul>'
