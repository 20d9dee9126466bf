"""Metrics of language models and translations, as sums that are divided once at the end.

Only sums are added over batches and ranks, however unequal these are, so the metrics are those of the whole text.
Bits per byte compare models of different vocabularies, nats per token do not. BLEU, chrF and TER are sacrebleu's, of
the corpus, with the tokenizer of BLEU that is usual for the language.
"""

import importlib.util
import math
import re
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Any

import torch
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from sacrebleu.metrics.ter import TER
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import Metric

from seqmodels.batch import IGNORE
from seqmodels.environment import wide
from seqmodels.errors import InputError


def perplexity(nats: float) -> float:
    """`exp(nats)`, infinite beyond all numbers: of a network that has learned nothing, by long words."""
    try:
        return math.exp(nats)
    except OverflowError:
        return math.inf


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


class Sums(Metric):
    """A metric that may be computed without an update: the sums of a rank without a batch are zero."""

    full_state_update = False

    @property
    def update_called(self) -> bool:
        return True


class TextMetrics(Sums):
    """Nats per token, perplexity, bits per character and bits per byte over a whole text.

    Args:
        sizes: characters and bytes of each token, int64 (2, V), as `Tokenizer.sizes`, or a function that is called for
            them at the first update.
    """

    nats: Tensor
    tokens: Tensor
    extent: Tensor

    def __init__(self, sizes: Tensor | Callable[[], Tensor]) -> None:
        super().__init__()
        # No buffer: those of a model are counted by averages of it, and this one may come later.
        self._sizes = sizes
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
        if not isinstance(self._sizes, Tensor):
            self._sizes = self._sizes()
        self._sizes = self._sizes.to(targets.device)
        self.nats = wide(self.nats) + nats  # also where the whole model was converted to half precision
        self.tokens += scored.numel()
        self.extent += self._sizes[:, scored].sum(1)

    def compute(self) -> dict[str, Tensor]:
        """The metrics by name; infinite where there is nothing to divide by."""
        nats, (per_character, per_byte) = self.nats / self.tokens, self.nats / math.log(2) / self.extent
        named = {"nats_per_token": nats, "perplexity": nats.exp()}
        return named | {"bits_per_character": per_character, "bits_per_byte": per_byte}


class TokenAccuracy(Sums):
    """Fraction of targets that are the likeliest tokens under teacher forcing."""

    right: Tensor
    tokens: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("right", "tokens"):
            self.add_state(name, torch.tensor(0), dist_reduce_fx="sum")

    def update(self, logits: Tensor, targets: Tensor) -> None:
        """Add a batch: logits (B, T, V), and targets (B, T), IGNORE where nothing is scored."""
        self.right += (logits.argmax(-1) == targets).sum()  # never where nothing is scored
        self.tokens += (targets != IGNORE).sum()

    def compute(self) -> Tensor:
        """The fraction, 0 where there was no target."""
        return self.right / self.tokens.clamp(min=1)


LENGTH_CLASSES = (0, 5, 10, 15, 20, 30, 40, 50)
"""Lower bounds of the classes of source lengths, in words."""

HAN, KANA, HANGUL = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff", "\u3040-\u30ff", "\uac00-\ud7af"
SOUTHEAST = "\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff"
"""Ranges of characters of scripts; those of the second group are Thai, Lao, Tibetan, Burmese and Khmer."""
UNSPACED = re.compile(
    f"[{HAN}{KANA}{SOUTHEAST}\u3000-\u303f\uff00-\uffef]|[^\\s{HAN}{KANA}{SOUTHEAST}\u3000-\u303f\uff00-\uffef]+"
)
LANGUAGES = {
    "zh": "zh zho chi cmn yue wuu hak nan lzh", "ja": "ja jpn", "ko": "ko kor",
    "th": "th tha lo lao km khm my mya bo bod dz dzo",
}  # fmt: skip
"""Codes of languages by how they are split into tokens; those like Thai write no spaces between words."""
MECAB = {"ja": ("MeCab", "ja-mecab", "char"), "ko": ("mecab_ko", "ko-mecab", "13a")}
"""For Japanese and Korean, a package, sacrebleu's tokenizer that needs it, and the one without it."""


def writing(language: str | None, texts: Sequence[str]) -> str:
    """Which of `LANGUAGES` a text is like, by the code of its language, such as zh-CN, or else by most of its letters.

    Empty for all others, whose words are separated by spaces.
    """
    code = re.split("[-_]", (language or "").lower())[0]
    if found := next((kind for kind, codes in LANGUAGES.items() if code in codes.split()), ""):
        return found
    letters = "".join(filter(str.isalpha, "".join(texts)))
    han, kana, hangul, southeast = (
        len(re.findall(f"[{script}]", letters)) for script in (HAN, KANA, HANGUL, SOUTHEAST)
    )
    most = {"ja" if 10 * kana > han else "zh": han + kana, "ko": hangul, "th": southeast}
    return next((kind for kind, count in most.items() if 2 * count > len(letters)), "")


def bleu_tokenizer(kind: str) -> str:
    """The tokenizer of BLEU for a result of `writing`: zh, ja-mecab and ko-mecab if installed, char, or 13a."""
    if kind in MECAB:
        package, tokenizer, otherwise = MECAB[kind]
        return tokenizer if importlib.util.find_spec(package) else otherwise
    return {"zh": "zh", "th": "char"}.get(kind, "13a")


def count_words(text: str) -> int:
    """Words between spaces; in scripts without spaces between words, letters."""
    return sum(len(word) > 1 or word.isalnum() or word.isascii() for word in UNSPACED.findall(text))


def corpus_scores(
    hypotheses: Sequence[str], *references: Sequence[str], language: str | None = None, tokenizer: str | None = None
) -> dict[str, Any]:
    """BLEU, chrF, chrF++ and TER of a text, with sacrebleu's signatures.

    Args:
        hypotheses: translations, detokenised.
        references: one or several lists of reference translations, each with one for every hypothesis.
        language: code of their language; by default, languages without spaces are known by their script.
        tokenizer: of BLEU, see `bleu_tokenizer`; also intl, flores200 and others of sacrebleu, or moses, the tokens of
            the Moses decoder by sacremoses, in whose `bleu_lowercase` papers on Multi30k are commonly reported.

    Returns:
        The scores, from 0 to 100; TER is an error rate, the lower the better, and left out for languages like Thai, of
        which it knows no words. `bleu_lowercase` is of the text in lower case, as many papers report it, with the same
        tokens as `bleu`.

    Raises:
        InputError: there is no sentence, or not a reference for each, or the tokenizer is not known or not installed.
    """
    check_sentences(hypotheses, *references)
    kind = writing(language, references[0])
    try:
        scorers: dict[str, Any] = {
            "bleu": bleu_scorer(kind, tokenizer),
            "bleu_lowercase": bleu_scorer(kind, tokenizer, lowercase=True),
        }
    except (AssertionError, ImportError, KeyError, RuntimeError, OSError) as error:
        raise InputError(
            f"the tokenizer {tokenizer!r} of BLEU cannot be used here ({' '.join(str(error).split())[:200]}); choose "
            "one of 13a, intl, zh, char, or install what it needs"
        ) from error
    scorers |= {"chrf": CHRF(), "chrf++": CHRF(word_order=2)}
    if kind != "th":
        east = kind in ("zh", "ja")
        scorers["ter"] = TER(normalized=east, asian_support=east)
    found: dict[str, Any] = {}
    split, how = _split(tokenizer, language)
    for name, metric in scorers.items():
        before = split if name.startswith("bleu") else list[str]
        found[name] = metric.corpus_score(before(hypotheses), [before(each) for each in references]).score
        found[f"{name}_signature"] = f"{metric.get_signature()}{how * name.startswith('bleu')}"
    matches = sum(one in others for one, *others in zip(hypotheses, *references, strict=True))
    return found | {"exact_match": matches / len(hypotheses), "sentences": len(hypotheses)}


def bleu_scorer(kind: str, tokenizer: str | None, lowercase: bool = False) -> BLEU:
    """BLEU of a result of `writing`, with its usual tokenizer or another one; texts are split by `_split` before."""
    if tokenizer == "moses":
        return BLEU(lowercase=lowercase, tokenize="none", force=True)
    return BLEU(lowercase=lowercase, tokenize=tokenizer or bleu_tokenizer(kind))


def _split(tokenizer: str | None, language: str | None) -> tuple[Callable[[Sequence[str]], list[str]], str]:
    """What splits texts before BLEU sees them, and what its signature says of that: for moses alone.

    Raises:
        InputError: sacremoses is not installed.
    """
    if tokenizer != "moses":
        return list, ""
    try:
        from sacremoses import MosesPunctNormalizer, MosesTokenizer
    except ImportError as error:
        raise InputError('the tokenizer moses needs sacremoses: pip install "seqmodels-lightning[moses]"') from error
    code = re.split("[-_]", (language or "en").lower())[0]
    normal, tokens = MosesPunctNormalizer(code), MosesTokenizer(code)

    def split(texts: Sequence[str]) -> list[str]:
        return [tokens.tokenize(normal.normalize(text), escape=False, return_str=True) for text in texts]

    return split, f"|moses:sacremoses-{version('sacremoses')}"


def check_sentences(hypotheses: Sequence[str], *others: Sequence[str]) -> None:
    """Refuse texts that are no lists of sentences, or of different lengths, or empty.

    Raises:
        InputError: so it is.
    """
    texts = (hypotheses, *others)
    if not others or any(isinstance(text, str) or not all(isinstance(one, str) for one in text) for text in texts):
        raise InputError("expected lists of sentences: translations, and one or several lists of references")
    if len(hypotheses) == 0 or any(len(text) != len(hypotheses) for text in others):
        sizes = " and ".join(str(len(text)) for text in others)
        raise InputError(
            f"{len(hypotheses)} translations were given beside {sizes} sentences; expected as many, and at least one"
        )


def bleu_by_length(
    sources: Sequence[str],
    hypotheses: Sequence[str],
    *references: Sequence[str],
    language: str | None = None,
    tokenizer: str | None = None,
) -> list[dict[str, float | None]]:
    """BLEU by the number of words of the source, see `count_words`; arguments and errors as of `corpus_scores`.

    Returns:
        For each class of lengths that has sentences, its least number of words `from`, the number `to` that it stays
        below (None for the last class), `sentences` and `bleu`.
    """
    check_sentences(hypotheses, sources, *references)
    metric, (split, _) = bleu_scorer(writing(language, references[0]), tokenizer), _split(tokenizer, language)
    hypotheses, references = split(hypotheses), tuple(split(each) for each in references)
    classes: list[list[tuple[str, ...]]] = [[] for _ in LENGTH_CLASSES]
    for source, *texts in zip(sources, hypotheses, *references, strict=True):
        count = count_words(source)
        classes[sum(count >= bound for bound in LENGTH_CLASSES) - 1].append(tuple(texts))
    table: list[dict[str, float | None]] = []
    for low, high, found in zip(LENGTH_CLASSES, (*LENGTH_CLASSES[1:], None), classes, strict=True):
        if found:
            ours, *theirs = map(list, zip(*found, strict=True))
            score = metric.corpus_score(ours, theirs).score
            table.append({"from": low, "to": high, "sentences": len(found), "bleu": score})
    return table


def length_label(row: dict[str, Any]) -> str:
    """The range of words of a row of `bleu_by_length`, for people."""
    return f"{row['from']:g} or more" if row["to"] is None else f"{row['from']:g} to {row['to'] - 1:g}"


class TranslationMetrics(Sums):
    """BLEU, chrF and the fraction of exact matches over a whole text, detokenised.

    Args:
        tokenizer: of BLEU, see `bleu_tokenizer`.
    """

    bleu: Tensor
    chrf: Tensor
    exact: Tensor
    sentences: Tensor

    def __init__(self, tokenizer: str = "13a") -> None:
        super().__init__()
        self._metrics = {"bleu": BLEU(tokenize=tokenizer), "chrf": CHRF()}
        for name, metric in self._metrics.items():
            sizes = metric._extract_corpus_statistics(["a"], [["a"]])
            self.add_state(name, torch.zeros(len(sizes[0]), dtype=torch.float64), dist_reduce_fx="sum")
        for name in ("exact", "sentences"):
            self.add_state(name, torch.tensor(0), dist_reduce_fx="sum")

    def set_language(self, language: str | None, examples: Sequence[str]) -> None:
        """Take the tokenizer of BLEU for a language, see `writing`."""
        self._metrics["bleu"] = BLEU(tokenize=bleu_tokenizer(writing(language, examples)))

    def update(self, hypotheses: Sequence[str], references: Sequence[str]) -> None:
        """Add some sentences."""
        for name, metric in self._metrics.items():
            counts = torch.tensor(
                metric._extract_corpus_statistics(list(hypotheses), [list(references)]), dtype=torch.float64
            ).sum(0)
            total = wide(getattr(self, name))
            setattr(self, name, total + counts.to(total))
        self.exact += sum(one == other for one, other in zip(hypotheses, references, strict=True))
        self.sentences += len(hypotheses)

    def compute(self) -> dict[str, Tensor]:
        """The metrics by name: BLEU and chrF from 0 to 100, exact match from 0 to 1, and the number of sentences."""
        found = {
            name: torch.tensor(metric._compute_score_from_stats([int(n) for n in getattr(self, name)]).score)
            for name, metric in self._metrics.items()
        }
        return {**found, "exact_match": self.exact / self.sentences, "sentences": self.sentences.float()}
