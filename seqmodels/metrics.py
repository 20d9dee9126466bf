"""Metrics of language models and translations, as sums that are divided once at the end.

Only sums are added over batches and ranks, however unequal these are, so the metrics are those of the whole text.
Bits per byte compare models of different vocabularies, nats per token do not. BLEU, chrF and TER are sacrebleu's, of
the corpus.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from sacrebleu.metrics.ter import TER
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import Metric

from seqmodels.batch import IGNORE


def summed_nats(logits: Tensor, targets: Tensor, smoothing: float = 0.0) -> tuple[Tensor, Tensor]:
    """Cross-entropy summed over the targets that count, in nats, and the number of these targets.

    Args:
        logits: (B, T, V), of any floating type; the logarithms are taken in at least single precision.
        targets: int64 (B, T), IGNORE where nothing is scored.
        smoothing: fraction of the probability that is spread over all V tokens (label smoothing, Szegedy et al. 2016).
    """
    logits = logits.flatten(0, 1)
    logits = logits if logits.dtype == torch.float64 else logits.float()
    nats = F.cross_entropy(logits, targets.reshape(-1), ignore_index=IGNORE, reduction="sum", label_smoothing=smoothing)
    return nats, (targets != IGNORE).sum()


class TextMetrics(Metric):
    """Nats per token, perplexity, bits per character and bits per byte over a whole text.

    Args:
        sizes: characters and bytes of each token, int64 (2, V), as `Tokenizer.sizes`.
    """

    full_state_update = False
    nats: Tensor
    tokens: Tensor
    extent: Tensor
    sizes: Tensor

    def __init__(self, sizes: Tensor) -> None:
        super().__init__()
        self.register_buffer("sizes", sizes, persistent=False)
        self.add_state("nats", torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("tokens", torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("extent", torch.zeros(2, dtype=torch.int64), dist_reduce_fx="sum")  # characters, bytes

    def update(self, nats: Tensor, targets: Tensor) -> None:
        """Add a batch.

        Args:
            nats: summed cross-entropy of the batch.
            targets: int64 (B, T), IGNORE where nothing was scored.
        """
        scored = targets[targets != IGNORE]
        self.nats = self.nats.double() + nats  # also where the whole model was converted to half precision
        self.tokens += scored.numel()
        self.extent += self.sizes[:, scored].sum(1)

    def compute(self) -> dict[str, Tensor]:
        """The metrics by name; infinite where there is nothing to divide by."""
        nats, (per_character, per_byte) = self.nats / self.tokens, self.nats / math.log(2) / self.extent
        named = {"nats_per_token": nats, "perplexity": nats.exp()}
        return named | {"bits_per_character": per_character, "bits_per_byte": per_byte}


LENGTH_CLASSES = (0, 5, 10, 15, 20, 30, 40, 50)
"""Lower bounds of the classes of source lengths, in words."""


def corpus_scores(hypotheses: Sequence[str], references: Sequence[str]) -> dict[str, Any]:
    """BLEU, chrF and TER of detokenised translations, with sacrebleu's signatures.

    Scores are from 0 to 100; TER is an error rate, the lower the better. `bleu_lowercase` is of the text in lower
    case, as many papers report it, with the same tokens as `bleu`.
    """
    found: dict[str, Any] = {}
    scorers = {"bleu": BLEU(), "chrf": CHRF(), "ter": TER(), "bleu_lowercase": BLEU(lowercase=True)}
    for name, metric in scorers.items():
        found[name] = metric.corpus_score(list(hypotheses), [list(references)]).score
        found[f"{name}_signature"] = str(metric.get_signature())
    matches = sum(one == other for one, other in zip(hypotheses, references, strict=True))
    return found | {"exact_match": matches / max(1, len(hypotheses)), "sentences": len(hypotheses)}


def bleu_by_length(
    sources: Sequence[str], hypotheses: Sequence[str], references: Sequence[str]
) -> list[dict[str, float | None]]:
    """BLEU by the number of words of the source: for each class of lengths that has sentences, its least number of
    words `from`, the number `to` that it stays below (None for the last class), `sentences` and `bleu`.
    """
    classes: list[list[tuple[str, str]]] = [[] for _ in LENGTH_CLASSES]
    for source, hypothesis, reference in zip(sources, hypotheses, references, strict=True):
        count = len(source.split())
        classes[sum(count >= bound for bound in LENGTH_CLASSES) - 1].append((hypothesis, reference))
    table: list[dict[str, float | None]] = []
    for low, high, found in zip(LENGTH_CLASSES, (*LENGTH_CLASSES[1:], None), classes, strict=True):
        if found:
            ours, theirs = zip(*found, strict=True)
            score = BLEU().corpus_score(list(ours), [list(theirs)]).score
            table.append({"from": low, "to": high, "sentences": len(found), "bleu": score})
    return table


def length_label(row: dict[str, Any]) -> str:
    """The range of words of a row of `bleu_by_length`, for people."""
    return f"{row['from']:g} or more" if row["to"] is None else f"{row['from']:g} to {row['to'] - 1:g}"


class TranslationMetrics(Metric):
    """BLEU, chrF and the fraction of exact matches over a whole text, detokenised."""

    full_state_update = False
    bleu: Tensor
    chrf: Tensor
    exact: Tensor
    sentences: Tensor

    def __init__(self) -> None:
        super().__init__()
        self._metrics = {"bleu": BLEU(), "chrf": CHRF()}
        for name, metric in self._metrics.items():
            sizes = metric._extract_corpus_statistics(["a"], [["a"]])
            self.add_state(name, torch.zeros(len(sizes[0]), dtype=torch.float64), dist_reduce_fx="sum")
        for name in ("exact", "sentences"):
            self.add_state(name, torch.tensor(0), dist_reduce_fx="sum")

    def update(self, hypotheses: Sequence[str], references: Sequence[str]) -> None:
        """Add some sentences."""
        for name, metric in self._metrics.items():
            counts = torch.tensor(
                metric._extract_corpus_statistics(list(hypotheses), [list(references)]), dtype=torch.float64
            ).sum(0)
            setattr(self, name, getattr(self, name).double() + counts.to(self.device))
        self.exact += sum(one == other for one, other in zip(hypotheses, references, strict=True))
        self.sentences += len(hypotheses)

    def compute(self) -> dict[str, Tensor]:
        """The metrics by name: BLEU and chrF from 0 to 100, exact match from 0 to 1."""
        found = {
            name: torch.tensor(metric._compute_score_from_stats([int(n) for n in getattr(self, name)]).score)
            for name, metric in self._metrics.items()
        }
        return {**found, "exact_match": self.exact / self.sentences}
