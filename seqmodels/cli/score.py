"""The command `score`."""

import sys

from seqmodels.cli.generate import load_language_model
from seqmodels.cli.text_io import PART, WORKERS_PART, parts_of
from seqmodels.tasks.workers import Workers


def score(run: str, file: str | None = None, eos: bool = False, workers: int | None = None, json: bool = False) -> None:
    """Score each line of a file or of standard input as a document: its probability under a trained model. Prints a
    line for each, in order, with five columns separated by tabs: nats (negative log-probability), tokens, nats per
    token, bits per byte, and the line. An empty line has 0 nats, 0 tokens and means of nan.

    Args:
        run: a run folder, whose best checkpoint is used, or a checkpoint.
        file: lines to score; by default those of standard input.
        eos: also score the end of the document after each line.
        workers: processes, each with a batch on a core of its own; 1 for one batch by all threads. By default what is
            faster, which the first batches tell.
        json: print a line of JSON for each, with null for undefined means, and the number of unknown tokens.
    """
    task = load_language_model(run)
    by = Workers(workers, task.embedding.weight.device)
    unknown, first = 0, 1
    for lines in parts_of(file, PART if by.count == 1 else WORKERS_PART):
        for line, found in zip(lines, task.score(lines, eos=eos, first_number=first, workers=by), strict=True):
            print(found.as_json(line) if json else found.as_columns(line))
            unknown += found.unknown
        sys.stdout.flush()
        first += len(lines)
    if unknown:
        print(f"{unknown:,} tokens are unknown to the vocabulary", file=sys.stderr)
