"""What the command `neurons` tells of a unit that is held: losses by label, and texts side by side."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

from rich.console import Console
from rich.table import Table
from rich.text import Text

from seqmodels.analysis.ablation import Loss, constant, continuation, replaced
from seqmodels.decoding import Sampling
from seqmodels.files import printable
from seqmodels.tasks import LanguageModel

Held = Literal["mean", "zero"]

SAMPLING = Sampling(temperature=0.8)
"""As `generate` draws."""
MAX_TOKENS = 300
PROMPT_LENGTH = 200


class Ablation(NamedTuple):
    """A unit that is held at a value, the label it was chosen for, and what that changes."""

    unit: str
    name: str
    value: float
    losses: list[Loss]

    @property
    def figures(self) -> dict[str, float]:
        """Nats per token of each situation with the network as it is, and with the unit held."""
        found = {"held_at": self.value}
        for where, _, untouched, ablated in self.losses:
            found |= {f"nats_{where}": untouched, f"nats_{where}_ablated": ablated}
        return found


def prompt_of(passage: str, values: Sequence[float], binary: bool) -> str:
    """The begin of a passage, up to a few characters after a label begins there, or to its middle; its last lines.

    Args:
        passage: whole lines.
        values: the label of each character.
        binary: whether it is true or false.
    """
    true = [place for place, value in enumerate(values) if binary and value == 1]
    longer = [place for place in true if all(value == 1 for value in values[max(0, place - 3) : place + 1])]
    end = (
        next(iter([place for place in longer if place >= PROMPT_LENGTH // 2] or longer or true), len(passage) // 2) + 1
    )
    text = passage[max(0, end - PROMPT_LENGTH) : end]
    return text if end <= PROMPT_LENGTH else text[text.find("\n") + 1 :] or text


def table_of(found: Ablation, held: Held) -> Table:
    """Nats per token, with and without the unit."""
    table = Table(box=None, pad_edge=False)
    table.add_column(f"{found.unit} held at {_at(found, held)}: {found.name}")
    for column in ("tokens", "nats per token", "held", "change"):
        table.add_column(column, justify="right")
    for where, tokens, untouched, ablated in found.losses:
        table.add_row(where, f"{tokens:,}", f"{untouched:.4f}", f"{ablated:.4f}", f"{ablated - untouched:+.4f}")
    return table


def show_texts(console: Console, task: LanguageModel, found: Ablation, held: Held, prompt: str, seed: int) -> None:
    """What the network writes after a prompt, and what it writes with the unit held, drawn with the same numbers."""
    texts = [continuation(task, prompt, MAX_TOKENS, SAMPLING, seed)]
    with replaced(task.backbone, found.unit, constant(found.value)):
        texts.append(continuation(task, prompt, MAX_TOKENS, SAMPLING, seed))
    console.print(f"\nprompt, then texts of random seed {seed} at temperature {SAMPLING.temperature}:")
    console.print(Text(printable(prompt), style="italic"))
    table = Table(padding=(0, 1))
    for heading in ("as it is", f"{found.unit} held at {_at(found, held)}"):
        table.add_column(heading, ratio=1, overflow="fold")
    table.add_row(*(Text(printable(text)) for text in texts))
    console.print(table)


def _at(found: Ablation, held: Held) -> str:
    return f"its mean, {found.value:.3f}" if held == "mean" else "zero"
