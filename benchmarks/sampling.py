"""Tokens per second of generation: an LSTM beside a loop that calls `nn.LSTM` for each token, a Transformer beside
`generate` of `transformers` with its cache.

The two LSTMs have the same weights and sample in the same way; with greedy decoding they write the same text, which is
checked before anything is timed. The Transformers have the same shape and random weights.
"""

import copy
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from benchmarks.ceiling import Cost
from benchmarks.measure import Comparison, Entry, Run, compare_all
from benchmarks.peak import in_process
from benchmarks.plain import PlainLSTM
from seqmodels.batch import BOS, NEVER
from seqmodels.data import Tokenizer
from seqmodels.decoding import RowGenerators, Sampling, stream
from seqmodels.nn import LSTM, Backbone, Transformer
from seqmodels.nn.quantization import Int8Linear, to_int8
from seqmodels.tasks import LanguageModel

GREEDY, RANDOM = Sampling(temperature=0), Sampling()


def run(*, rounds: int = 5, small: bool = False) -> Iterator[Comparison]:
    """All comparisons of this topic; see `Topic`."""
    how = {} if small else {"weigh": in_process}
    size, tokens = (16, 5) if small else (512, 200)
    lstm = made(LSTM(size, size, num_layers=2))
    plain = plain_twin(lstm)
    exact = copy.deepcopy(lstm).double()  # so that rounding changes no greedy choice
    for rows, target in ((1, 10), (16, 3)):
        if write(exact, rows, GREEDY, tokens) != write_plainly(plain_twin(exact).double(), rows, GREEDY, tokens):
            raise RuntimeError(f"with {rows} rows, the two programs write different texts")
        # In fresh processes: `nn.LSTM` repacks its weights for each token, and the time of that depends on the memory
        # that the process has allocated and freed before.
        apart: dict[str, Run] = {} if small else {"run": in_process}
        entry = beside_plain(f"LSTM 2x{size}", lstm, plain, rows, tokens, f"ratio >= {target}")
        yield from compare_all([entry], unit="tokens/s", rounds=rounds, warm_up=False, **apart)
    letters, little = 65, (16, 4, 4, 32) if small else (128, 4, 4, 256)
    large = little if small else GPT2
    for name, vocabulary, shape, lengths, targets in (
        ("Transformer 4x128", letters, little, (256, 256), (5, 3)),
        ("GPT-2 124M", letters if small else LETTERS, large, (64, 32), (1.5, 2)),
    ):
        ours, theirs = transformers_of(vocabulary, shape)
        eight = None if shape == little else copy.deepcopy(ours)
        if small and name.startswith("GPT"):
            eight, _ = transformers_of(letters, (256, 2, 4, 32))
        entries = []
        for rows, tokens, target in zip((1, 16), (5, 5) if small else lengths, targets, strict=True):
            entries.append(beside_generate(name, ours, theirs, rows, tokens, f"ratio >= {target}"))
            if eight is not None:
                what = f"{name}, ours in int8, theirs in fp32"
                same = beside_generate(what, eight, theirs, rows, tokens, "")
                entries.append(replace(same, rival=entries[-1].rival, cost=None, weighed=False))  # cannot be pickled
        if eight is not None:
            to_int8(eight)
        yield from compare_all(entries, unit="tokens/s", rounds=rounds, warm_up=False, **how)


def beside_plain(name: str, ours: LanguageModel, plain: PlainLSTM, rows: int, tokens: int, target: str) -> Entry:
    """An LSTM and its twin; arguments as of `beside_generate`."""
    theirs = partial(write_plainly, plain, rows, RANDOM)
    return _entry(f"Sample {name}, batch {rows}", ours, theirs, rows, tokens, target)


def _entry(
    what: str, ours: LanguageModel, theirs: Callable[[int], object], rows: int, tokens: int, target: str
) -> Entry:
    """Our model beside another program that writes so many tokens."""
    rates = [partial(rate, work, rows, tokens) for work in (partial(write, ours, rows, RANDOM), theirs)]
    return Entry(what, *rates, target, _cost(ours, rows))


GPT2 = 768, 12, 12, 1024
"""Features, layers, heads and context of the smallest model (Radford et al. 2019)."""
LETTERS = 50_253
"""With special tokens, as many as GPT-2 has."""


def transformers_of(vocabulary: int, shape: tuple[int, int, int, int]) -> tuple[LanguageModel, Any]:
    """Our model and that of `transformers`, of the same vocabulary and shape (see `GPT2`), with random weights."""
    from benchmarks import hugging_face  # takes seconds to import

    size, layers, heads, context = shape
    ours = made(Transformer(size, layers, heads, context=context, positions="learned"), vocabulary)
    return ours, hugging_face.gpt2(ours.tokenizer.vocab_size, *shape).eval()


def beside_generate(
    name: str, ours: LanguageModel, theirs: Any, rows: int, tokens: int, target: str, cache: str = ""
) -> Entry:
    """Our model beside that of `transformers`, on one device.

    Args:
        name: of both.
        ours: our model.
        theirs: their model.
        rows: texts at a time.
        tokens: tokens of each.
        target: the aim.
        cache: name of their cache implementation; the default if empty.
    """
    from benchmarks import hugging_face

    what = f"Sample {name}, {tokens} tokens, batch {rows}{f', {cache} cache' if cache else ''}"
    write_theirs = partial(hugging_face.written, theirs, torch.full((rows, 1), BOS, device=ours.device), cache=cache)
    return _entry(what, ours, write_theirs, rows, tokens, target)


@torch.inference_mode()
def write(model: LanguageModel, rows: int, sampling: Sampling, count: int) -> list[list[int]]:
    """Sample `count` tokens for each row with this package."""
    chance = RowGenerators(1, [(row,) for row in range(rows)], model.device)
    return list(stream(model.steps(None, rows), torch.full((rows,), BOS, device=model.device), sampling, count, chance))


@torch.inference_mode()
def write_plainly(model: PlainLSTM, rows: int, sampling: Sampling, count: int) -> list[list[int]]:
    """The same with a call of the whole network for each token."""
    device = model.head.weight.device
    chance = RowGenerators(1, [(row,) for row in range(rows)], device)
    tokens, state, text = torch.full((rows,), BOS, device=device), None, []
    for _ in range(count):
        logits, state = model(tokens.unsqueeze(1), state)
        tokens = sampling.draw(logits.squeeze(1), chance.next())
        text.append(tokens.tolist())
    return text


def plain_twin(model: LanguageModel) -> PlainLSTM:
    """A plain LSTM with the weights of a language model."""
    assert isinstance(model.backbone, LSTM)
    cells = [dict(cell.kernel.named_parameters()) for cell in model.backbone.layers]  # type: ignore[union-attr]
    twin = PlainLSTM(model.tokenizer.vocab_size, model.backbone.input_size, len(cells))
    twin.embedding.load_state_dict(model.embedding.state_dict())
    twin.head.load_state_dict(model.head.state_dict())
    weights = {name.replace("_l0", f"_l{k}"): p for k, cell in enumerate(cells) for name, p in cell.items()}
    twin.lstm.load_state_dict(weights)
    with torch.no_grad():
        twin.head.bias[list(NEVER)] = -torch.inf  # ours never samples them
    return twin.eval()


def made(backbone: Backbone, characters: int = 65) -> LanguageModel:
    """Random weights over some characters: Tiny Shakespeare has 65."""
    first = ord(" ") if characters < 95 else 0x10000
    letters = "".join(chr(code) for code in range(first, first + characters))
    torch.manual_seed(1)
    return LanguageModel(backbone, Tokenizer.char([letters])).eval()


def _cost(model: LanguageModel, rows: int) -> Cost | None:
    """Cost of a token: all weight matrices are read once for all rows. Not known for int8."""
    if any(isinstance(part, Int8Linear) for part in model.modules()):
        return None
    parts = [*model.backbone.named_parameters(), *model.head.named_parameters()]
    matrices = [p for name, p in parts if p.ndim == 2 and "position" not in name]
    return Cost(sum(p.numel() * p.element_size() for p in matrices) / rows, "bytes")


def rate(work: Callable[[int], object], rows: int, tokens: int) -> float:
    """Tokens per second of all rows, after a short warm-up."""
    work(min(tokens, 8))
    began = time.perf_counter()
    work(tokens)
    return rows * tokens / (time.perf_counter() - began)
