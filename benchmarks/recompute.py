"""Training on long windows with `--recompute`, beside the same without, and a step that does not fit otherwise."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from benchmarks.measure import Comparison, compare, made_up_text, plainly
from benchmarks.peak import in_process
from benchmarks.plain import PlainLSTM
from benchmarks.trainer import Work, ours
from seqmodels.nn import LSTM


def run(*, rounds: int = 5, small: bool = False) -> Iterator[Comparison]:
    """All comparisons of this topic; see `Topic`."""
    size, piece, rows, length, longest = (8, 4, 2, 16, 32) if small else (512, 256, 8, 4_096, 100_000)
    how = plainly if small else lambda _: in_process(ours=True)  # both programs are ours
    network = partial(LSTM, size, size, 2)
    plain = partial(PlainLSTM, size=size, layers=2)
    with made_up_text(20_000 if small else 1_000_000) as text:
        work = Work(f"LSTM 2x{size}", network, plain, rows, length, 2, carry=False, diagnostics=False)
        sides = [partial(_tokens_per_second, replace(work, recompute=given), text) for given in (piece, None)]
        yield compare(
            f"{work}, recomputed by {piece}", *sides, unit="tokens/s", rounds=rounds, warm_up=False,
            target="ratio >= 0.74 in a quarter of the memory", run=how,
        )  # fmt: skip
        little = size // 4  # with one row, the weights of a wide one are read from memory at each position
        long = Work(
            f"LSTM 2x{little}", partial(LSTM, little, little, 2), partial(PlainLSTM, size=little, layers=2), 1,
            longest, 1, carry=False, diagnostics=False, recompute=piece,
        )  # fmt: skip
        yield compare(
            f"{long}, recomputed by {piece}", partial(_tokens_per_second, long, text), unit="tokens/s",
            rounds=1, warm_up=False, target="at most 24 GiB", run=how,
        )  # fmt: skip


def _tokens_per_second(work: Work, text: Path) -> float:
    return work.batch_size * work.length / ours(work, text)
