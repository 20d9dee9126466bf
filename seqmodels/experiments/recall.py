"""Problems of recall: associative recall with many queries, and the six tasks of MAD.

Inputs are ids of symbols, (B, T). Sources: Arora et al. (2023), "Zoology"; Poli et al. (2024), "Mechanistic design and
scaling of hybrid architectures", in which the next symbol is asked everywhere in training, and answers alone in tests.
"""

import torch
from torch import Generator, Tensor

from seqmodels.batch import IGNORE

Drawn = tuple[Tensor, Tensor]


def _choices(count: int, size: int, rows: int, generator: Generator) -> Tensor:
    """For each row, `size` different numbers of `count`, in random order, (B, size)."""
    return torch.rand(rows, count, generator=generator).argsort(1)[:, :size]


def multi_query_recall(
    length: int,
    rows: int,
    generator: Generator,
    training: bool = True,
    symbols: int = 8192,
    pairs: int | None = None,
    power: float = 0.01,
) -> Drawn:
    """Pairs of a key and a value, and then every key once more: what was its value?

    Half of the symbols are keys, half values; keys of a row are different. Queries come after gaps whose lengths follow
    a power law, and random symbols stand between them.

    Args:
        length: positions T.
        rows: examples B.
        generator: of the symbols.
        training: without effect.
        symbols: number of symbols.
        pairs: of a key and its value; default: T / 16, as published for T = 64, 128 and 256.
        power: exponent of the power law, in which gap g has the weight g^(power - 1).
    """
    pairs = pairs or max(1, length // 16)
    keys = _choices(symbols // 2, pairs, rows, generator)
    values = torch.randint(symbols // 2, symbols, (rows, pairs), generator=generator)
    tokens = torch.randint(symbols, (rows, length), generator=generator)
    tokens[:, : 2 * pairs] = torch.stack((keys, values), 2).flatten(1)
    gaps = torch.arange(1, length - 2 * pairs + 1, dtype=torch.float64) ** (power - 1)
    noise = torch.rand(rows, len(gaps), generator=generator, dtype=torch.float64).log().neg()
    places = 2 * pairs + (noise / gaps).argsort(1)[:, :pairs]  # drawn without replacement, with these weights
    targets = torch.full((rows, length), IGNORE)
    return tokens.scatter(1, places, keys), targets.scatter(1, places, values)


def in_context_recall(
    length: int, rows: int, generator: Generator, training: bool = True, symbols: int = 16, noise: int = 0,
    share: float = 0.0,
) -> Drawn:  # fmt: skip
    """Pairs of a key and its value, again and again; the value of a key that was seen before is asked.

    Keys are the first half of the symbols that are no noise, values the second; each row has its own values.

    Args:
        length: positions T, an even number.
        rows: examples B.
        generator: of the symbols.
        training: ask for the next symbol at every position.
        symbols: number of symbols.
        noise: how many of them are noise.
        share: of pairs that are two symbols of noise.
    """
    kinds = (symbols - noise) // 2
    value_of = torch.randint(kinds, 2 * kinds, (rows, kinds), generator=generator)
    keys = torch.randint(kinds, (rows, length // 2 + 1), generator=generator)
    values = value_of.gather(1, keys)
    before = (keys.unsqueeze(2) == keys.unsqueeze(1)).tril(-1)  # (B, pair, earlier pair)
    if noise:
        disturbed = torch.rand(keys.shape, generator=generator) < share
        before &= ~disturbed.unsqueeze(1)
        drawn = torch.randint(2 * kinds, symbols, (2, *keys.shape), generator=generator)
        keys, values = keys.where(~disturbed, drawn[0]), values.where(~disturbed, drawn[1])
        before &= ~disturbed.unsqueeze(2)
    tokens = torch.stack((keys, values), 2).flatten(1)[:, : length + 1]
    answers = torch.full_like(tokens[:, :length], IGNORE)
    answers[:, ::2] = values[:, : length // 2].where(before.any(2)[:, : length // 2], IGNORE)
    return tokens[:, :length], tokens[:, 1:] if training else answers


def fuzzy_recall(
    length: int, rows: int, generator: Generator, training: bool = True, symbols: int = 16, longest: int = 3
) -> Drawn:
    """The same with keys and values of up to three symbols, none of them twice in one; in tests keys have three.

    A row ends with a key of the row and its value; padding, the last symbol, fills it up on the left.
    """
    kinds = (symbols - 1) // 2
    tokens, answers = torch.full((rows, length + 1), symbols - 1), torch.full((rows, length + 1), IGNORE)
    limit = length + 1
    for row in range(rows):
        count = limit // 2  # more pairs than a row can hold
        sizes = torch.randint(1, longest + 1, (2, count), generator=generator)
        if not training:
            sizes[0] = longest
        drawn = (
            _choices(kinds, longest, count, generator).tolist(),
            _choices(symbols - 1 - kinds, longest, count, generator).add(kinds).tolist(),
        )
        value_of: dict[tuple[int, ...], tuple[int, ...]] = {}
        text: list[int] = []
        asked: list[int] = []
        probe = int(torch.randint(1 << 30, (), generator=generator))
        for key_size, value_size, key, value in zip(*sizes.tolist(), *drawn, strict=True):
            pair = tuple(key[:key_size]), tuple(value[:value_size])
            if len(text) + 2 * longest > limit - 2 * longest:  # room for the last pair, which is one of the row
                names = sorted(value_of)
                pair = names[probe % len(names)], ()
            known = pair[0] in value_of
            answer = value_of.setdefault(*pair)
            text += [*pair[0], *answer]
            asked += [IGNORE] * len(pair[0]) + (list(answer) if known else [IGNORE] * len(answer))
            if not pair[1]:
                break
        tokens[row, limit - len(text) :] = torch.tensor(text)
        answers[row, limit - len(text) :] = torch.tensor(asked)
    return tokens[:, :-1], tokens[:, 1:] if training else answers[:, 1:]


def memorization(length: int, rows: int, generator: Generator, training: bool = True, symbols: int = 256) -> Drawn:
    """The value of a key, which is the same in all examples; asked at a blank, the last symbol, behind each key."""
    kinds = (symbols - 1) // 2
    value_of = kinds + torch.randperm(symbols - 1 - kinds, generator=Generator().manual_seed(12345))[:kinds]
    keys = torch.randint(kinds, (rows, length // 2), generator=generator)
    blanks = torch.full_like(keys, symbols - 1)
    nothing = torch.full_like(keys, IGNORE)
    return torch.stack((keys, blanks), 2).flatten(1), torch.stack((nothing, value_of[keys]), 2).flatten(1)


def compression(length: int, rows: int, generator: Generator, training: bool = True, symbols: int = 16) -> Drawn:
    """All random symbols, from the output at the last position, a special symbol, alone; see `FromLast`."""
    tokens = torch.randint(symbols - 1, (rows, length), generator=generator)
    tokens[:, -1] = symbols - 1
    return tokens, tokens


def selective_copying(
    length: int, rows: int, generator: Generator, training: bool = True, symbols: int = 16, shown: int = 16
) -> Drawn:
    """Sixteen symbols among blanks, then a start signal, and sixteen blanks at which they are asked for in order."""
    before = length - shown - 1
    content = torch.randint(symbols - 2, (rows, shown), generator=generator)
    places = _choices(before, shown, rows, generator).sort(1).values
    tokens = torch.full((rows, length), symbols - 2).scatter(1, places, content)
    tokens[:, before] = symbols - 1
    targets = torch.full((rows, length), IGNORE)
    targets[:, -shown:] = content
    return tokens, targets
