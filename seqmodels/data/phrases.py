"""The built-in parallel corpus: phrases of the Unicode CLDR, written by Babel in any two languages.

Dates, times, spans of time, measures, amounts of money, numbers and lists of these. It is a closed domain: it shows how
a translator learns words, agreement and word order, and says nothing about open text.
"""

import datetime
import hashlib
import random
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import babel
import datasets
from babel import dates, lists, localedata, numbers, units

from seqmodels.data.cache import cache_folder
from seqmodels.errors import InputError

DRAWN_PHRASES = 24_000
"""Phrases that are drawn; left out are duplicates, those with several translations, and those that CLDR lacks."""
PHRASES_VERSION = 2
"""Increased when other phrases are drawn."""
DATE_STYLES = ("full", "long", "medium", "short")

CLDR_UNITS = (
    "length-kilometer", "length-meter", "length-centimeter", "length-mile", "length-foot", "length-inch",
    "mass-kilogram", "mass-gram", "mass-pound", "volume-liter", "volume-milliliter", "volume-cubic-meter",
    "area-square-kilometer", "area-square-meter", "area-hectare", "speed-kilometer-per-hour", "temperature-celsius",
    "duration-day", "duration-hour", "duration-minute", "duration-second", "duration-week", "duration-month",
    "duration-year", "energy-kilocalorie", "power-kilowatt", "digital-megabyte", "digital-gigabyte",
)  # fmt: skip
SPANS = {"year": 365, "month": 30, "week": 7, "day": 1, "hour": 1 / 24, "minute": 1 / 1440}
CURRENCIES = ("EUR", "USD", "GBP", "JPY", "CHF", "CAD", "AUD", "SEK", "INR", "BRL")
SKELETONS = ("yMMMEd", "yMMMd", "MMMEd", "MMMd", "yMMM", "yMMMM", "Hm")

Write = Callable[[babel.Locale], str]


class Drawn(NamedTuple):
    """A phrase that can be written in both languages."""

    composition: str
    """Its parts, such as the year of a date: all phrases of some compositions are held out."""
    write: Write
    others: tuple[Write, ...] = ()
    """Other ways to write the same, which may be equal in one language and differ in the other."""


def phrases(source: str, target: str) -> tuple[str, dict[str, Callable[[], datasets.Dataset]]]:
    """The origin and splits of the phrases, as `Corpus` takes them, for languages such as en, fr, ja, pt_BR.

    All phrases of a twentieth of the compositions, such as the dates of a year or a number of a unit, are for
    validation, and those of another twentieth for test. No source is in two splits.

    Raises:
        InputError: a language is not among Babel's.
    """
    for name in (source, target):
        if not localedata.exists(name.replace("-", "_")):
            known = sorted(name for name in localedata.locale_identifiers() if len(name) == 2)
            raise InputError(f"phrases have no language {name!r}; there are {', '.join(known)}, and variants of them")
    origin = f"phrases of the Unicode CLDR by Babel {babel.__version__}, {source} to {target}: a closed domain"
    made_by = f"{babel.__version__} {DRAWN_PHRASES} {PHRASES_VERSION}"
    arguments = {"source": source, "target": target, "made_by": made_by}
    return origin, {
        split: partial(_rows, gen_kwargs={**arguments, "split": split}) for split in ("train", "validation", "test")
    }


def _rows(gen_kwargs: dict[str, str]) -> datasets.Dataset:
    return datasets.Dataset.from_generator(pairs, gen_kwargs=gen_kwargs, cache_dir=str(cache_folder() / "rows"))


def pairs(source: str, target: str, split: str, made_by: str) -> Iterator[dict[str, str]]:
    """The phrases of a split in both languages, the same in every call; `made_by` is part of the key of the cache."""
    locales = [babel.Locale.parse(name.replace("-", "_")) for name in (source, target)]
    rng = random.Random(0)
    splits: dict[str, str] = {}  # the first split of each source
    for _ in range(DRAWN_PHRASES):
        phrase = _draw(rng)
        own = _split_of(phrase.composition)
        try:
            texts = [_plain(phrase.write(locale)) for locale in locales]
            ambiguous = _is_ambiguous(phrase, locales, texts)
        except (KeyError, AttributeError, ValueError, LookupError):  # some languages lack some phrases
            continue
        if any("-" in text and any(unit in text for unit in CLDR_UNITS) for text in texts) or not all(texts):
            continue  # a raw key shows through where there is no pattern
        if ambiguous or texts[0] in splits:
            continue
        splits[texts[0]] = own
        if own == split:
            yield {"source": texts[0], "target": texts[1]}


def _is_ambiguous(phrase: Drawn, locales: Sequence[babel.Locale], texts: list[str]) -> bool:
    """Whether the same source has another translation: German writes the date of "May 4, 2001" in two ways."""
    others = ([_plain(write(locale)) for locale in locales] for write in phrase.others)
    return any(other[0] == texts[0] and other != texts for other in others)


def _split_of(composition: str) -> str:
    number = int.from_bytes(hashlib.sha256(composition.encode()).digest()[:4], "big") % 20
    return {0: "validation", 1: "test"}.get(number, "train")


def _plain(text: str) -> str:
    """The text without marks of direction and with single spaces."""
    return " ".join(text.replace("\u200f", "").replace("\u200e", "").split())


def _draw(rng: random.Random) -> Drawn:
    return rng.choice((_date, _time, _span, _measure, _measure, _money, _number, _list))(rng)


def _date(rng: random.Random) -> Drawn:
    day = datetime.date(1950, 1, 1) + datetime.timedelta(days=rng.randrange(36_500))
    moment = datetime.datetime.combine(day, datetime.time(rng.randrange(24), rng.randrange(60)))
    by_style: dict[str, Write] = {style: partial(dates.format_date, day, style) for style in DATE_STYLES}
    by_skeleton: dict[str, Write] = {
        name: partial(lambda name, locale: dates.format_skeleton(name, moment, locale=locale, fuzzy=False), name)
        for name in SKELETONS
    }
    every = (*by_style.values(), *by_skeleton.values())
    if rng.random() < 0.5:
        return Drawn(f"year {day.year}", by_style[rng.choice(DATE_STYLES)], every)
    skeleton = rng.choice(SKELETONS)
    composition = f"year {day.year}" if "y" in skeleton else f"day {day.month} {day.day}"
    return Drawn(composition, by_skeleton[skeleton], every)


def _time(rng: random.Random) -> Drawn:
    time = datetime.time(rng.randrange(24), rng.randrange(60), rng.randrange(60))
    style = rng.choice(("short", "medium"))
    return Drawn(f"time {time.hour} {time.minute}", lambda locale: dates.format_time(time, style, locale=locale))


def _span(rng: random.Random) -> Drawn:
    unit, number = rng.choice(list(SPANS)), rng.randint(1, 60) * rng.choice((-1, 1))
    span = datetime.timedelta(days=SPANS[unit] * number)
    settings: dict[str, Any] = {"granularity": unit, "threshold": 1e9, "add_direction": True}
    return Drawn(f"span {unit} {number}", lambda locale: dates.format_timedelta(span, locale=locale, **settings))


def _measure(rng: random.Random) -> Drawn:
    unit = rng.choice(CLDR_UNITS)
    number = rng.choice((rng.randint(1, 30), rng.randint(1, 1000), round(rng.uniform(0.1, 100), 1)))
    length = rng.choice(("long", "long", "short"))
    writers: dict[str, Write] = {
        style: partial(lambda style, locale: units.format_unit(number, unit, style, locale=locale), style)
        for style in ("long", "short")
    }
    return Drawn(f"measure {unit} {number}", writers.pop(length), tuple(writers.values()))


def _money(rng: random.Random) -> Drawn:
    currency, number = rng.choice(CURRENCIES), rng.choice((rng.randint(1, 9999), rng.randint(1, 999) / 4))
    style: Any = rng.choice(("name", "standard"))
    write: Write = lambda locale: numbers.format_currency(number, currency, locale=locale, format_type=style)  # noqa: E731
    return Drawn(f"money {currency} {number}", write)


def _number(rng: random.Random) -> Drawn:
    number = rng.choice((rng.randint(1_000, 9_999_999), round(rng.uniform(0, 10_000), 2)))
    if rng.random() < 0.5:
        return Drawn(f"number {number}", lambda locale: numbers.format_decimal(number, locale=locale))
    fraction = round(rng.uniform(0, 2), 3)
    # The split is a hash of the composition: another word here would be another corpus.
    return Drawn(f"share {fraction}", lambda locale: numbers.format_percent(fraction, "#,##0.0%", locale=locale))


def _list(rng: random.Random) -> Drawn:
    parts = [_measure(rng) for _ in range(rng.randint(2, 3))]
    style: Any = rng.choice(("standard", "or"))

    def write(writers: Sequence[Write], locale: babel.Locale) -> str:
        return lists.format_list([part(locale) for part in writers], style, locale)

    usual = [part.write for part in parts]
    others = [[*usual[:n], part.others[0], *usual[n + 1 :]] for n, part in enumerate(parts)]
    return Drawn(
        " and ".join(part.composition.split()[1] for part in parts),
        partial(write, usual),
        tuple(partial(write, writers) for writers in others),
    )
