"""Tokens per second while writing: an LSTM against the loop that calls `nn.LSTM` for each token, a Transformer against
`generate` of `transformers` with its cache.

The two LSTMs have the same weights and draw in the same way; drawing the likeliest token, they write the same text,
which is checked before anything is timed. The Transformers are of one shape and have random weights.
"""

from collections.abc import Callable, Iterator
from functools import partial

import torch

from benchmarks.measure import Comparison, Side, compare, per_second
from benchmarks.plain import PlainLSTM
from seqmodels.batch import BOS
from seqmodels.data import Tokenizer
from seqmodels.decoding import Chance, Sampling, stream
from seqmodels.nn import LSTM, Backbone, Transformer
from seqmodels.tasks import LanguageModel

GREEDY, RANDOM = Sampling(temperature=0), Sampling()


def run(*, rounds: int = 5, small: bool = False) -> Iterator[Comparison]:
    """All comparisons of this topic, one after the other.

    Args:
        rounds: how often each program runs.
        small: tiny sizes and few tokens, to see that it works.
    """
    size, tokens = (16, 5) if small else (512, 200)
    lstm = _model(LSTM(size, size, num_layers=2))
    plain = plain_twin(lstm)
    for rows, target in ((1, 10), (16, 3)):
        if write(lstm, rows, GREEDY, tokens) != write_plainly(plain, rows, GREEDY, tokens):
            raise RuntimeError(f"with {rows} rows, the two programs write different texts")
        yield compare(
            f"Sample LSTM 2x{size}, batch {rows}",
            _rate(partial(write, lstm, rows, RANDOM), rows, tokens),
            _rate(partial(write_plainly, plain, rows, RANDOM), rows, tokens),
            unit="tokens/s",
            rounds=rounds,
            target=f"ratio >= {target}",
        )
    letters, little = 65, (16, 4, 4, 32) if small else (128, 4, 4, 256)
    large = little if small else (768, 12, 12, 1024)
    for name, vocabulary, shape, lengths, targets in (
        ("Transformer 4x128", letters, little, (256, 256), (5, 3)),
        ("GPT-2 124M", letters if small else 50_253, large, (64, 32), (1.5, 2)),
    ):
        yield from _beside_generate(name, vocabulary, shape, (5, 5) if small else lengths, targets, rounds)


def _beside_generate(
    name: str,
    vocabulary: int,
    shape: tuple[int, int, int, int],
    lengths: tuple[int, int],
    targets: tuple[float, float],
    rounds: int,
) -> Iterator[Comparison]:
    """A Transformer with one row and with sixteen."""
    from benchmarks import hugging_face  # seconds, only where it is needed

    size, layers, heads, context = shape
    ours = _model(Transformer(size, layers, heads, context=context, positions="learned"), vocabulary)
    theirs = hugging_face.gpt2(ours.tokenizer.vocab_size, *shape).eval()
    for rows, tokens, target in zip((1, 16), lengths, targets, strict=True):
        begin = torch.full((rows, 1), BOS)
        tokens = min(tokens, context - 1)
        yield compare(
            f"Sample {name}, {tokens} tokens, batch {rows}",
            _rate(partial(write, ours, rows, RANDOM), rows, tokens),
            _rate(partial(hugging_face.written, theirs, begin), rows, tokens),
            unit="tokens/s",
            rounds=rounds,
            target=f"ratio >= {target}",
        )


@torch.inference_mode()
def write(model: LanguageModel, rows: int, sampling: Sampling, count: int) -> list[list[int]]:
    """So many tokens for each row, as this package draws them."""
    chance = Chance(1, [(row,) for row in range(rows)])
    return list(stream(model.steps(None, rows), torch.full((rows,), BOS), sampling, count, chance))


@torch.inference_mode()
def write_plainly(model: PlainLSTM, rows: int, sampling: Sampling, count: int) -> list[list[int]]:
    """The same by a call of the whole network for each token."""
    chance = Chance(1, [(row,) for row in range(rows)])
    tokens, state, text = torch.full((rows,), BOS), None, []
    for _ in range(count):
        logits, state = model(tokens.unsqueeze(1), state)
        tokens = sampling.draw(logits.squeeze(1), chance.next())
        text.append(tokens.tolist())
    return text


def plain_twin(model: LanguageModel) -> PlainLSTM:
    """Plain torch with the weights of an LSTM language model."""
    assert isinstance(model.backbone, LSTM)
    cells = [dict(cell.kernel.named_parameters()) for cell in model.backbone.layers]  # type: ignore[union-attr]
    twin = PlainLSTM(model.tokenizer.vocab_size, model.backbone.input_size, len(cells))
    twin.embedding.load_state_dict(model.embedding.state_dict())
    twin.head.load_state_dict(model.head.state_dict())
    weights = {name.replace("_l0", f"_l{k}"): p for k, cell in enumerate(cells) for name, p in cell.items()}
    twin.lstm.load_state_dict(weights)
    return twin.eval()


def _model(backbone: Backbone, characters: int = 65) -> LanguageModel:
    """Random weights over some characters: Tiny Shakespeare has 65."""
    first = ord(" ") if characters < 95 else 0x10000
    letters = "".join(chr(code) for code in range(first, first + characters))
    torch.manual_seed(1)
    return LanguageModel(backbone, Tokenizer.char([letters])).eval()


def _rate(work: Callable[[int], object], rows: int, tokens: int) -> Side:
    """Tokens of all rows in a second."""
    by_step = per_second(work, tokens)
    return lambda: rows * by_step()
