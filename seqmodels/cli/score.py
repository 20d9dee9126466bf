"""What the subcommands do, as plain functions."""

import sys

from seqmodels.cli.models import _language_model
from seqmodels.cli.text_io import parts


def score(run: str, eos: bool = False, json: bool = False) -> None:
    """Score each line of standard input as a document of its own: how likely it is to a trained model. Prints a line
    for each, in their order, with five columns between tabs: nats (minus the logarithm of the probability, so the less
    the likelier), tokens, nats per token, bits per byte, and the line. An empty line has 0 nats and 0 tokens, and means
    of nan.

    Args:
        run: a run folder, of which the best checkpoint is taken, or a checkpoint.
        eos: score the end of the document after each line, too.
        json: print a line of JSON for each, with null for a mean of nothing, and how many tokens were unknown.
    """
    task = _language_model(run)
    unknown, first = 0, 1
    if sys.stdin.buffer.isatty():
        print("reading lines from here, to the end of input (Ctrl-D); or give a file with: < FILE", file=sys.stderr)
    for lines in parts(sys.stdin.buffer, "standard input"):
        for line, found in zip(lines, task.score(lines, eos=eos, first_number=first), strict=True):
            print(found.as_json(line) if json else found.as_columns(line))
            unknown += found.unknown
        sys.stdout.flush()
        first += len(lines)
    if unknown:
        print(f"{unknown:,} tokens are unknown to the vocabulary", file=sys.stderr)
