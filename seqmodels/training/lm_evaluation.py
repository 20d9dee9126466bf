"""A model for lm-evaluation-harness, whose figures are counted by that program.

    python -m seqmodels.training.lm_evaluation --model_args run=RUN --tasks wikitext

It takes the options of `lm_eval run`.
"""

import sys
from collections.abc import Iterator, Sequence
from typing import Any

import lm_eval.models  # noqa: F401 - its own, which it registers only as long as there is no other
from lm_eval.api.model import TemplateLM
from lm_eval.api.registry import register_model
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from seqmodels.batch import BOS
from seqmodels.checkpoints.load import load
from seqmodels.decoding import Sampling
from seqmodels.environment import choose_accelerator
from seqmodels.errors import InputError
from seqmodels.tasks import LanguageModel

MAX_TOKENS = 256
"""Length of a text that a request generates, unless it says so."""


@register_model("seqmodels")
class HarnessModel(TemplateLM):  # type: ignore[misc]
    """A language model as lm-evaluation-harness (Gao et al. 2021) asks it.

    Args:
        run: a run folder, a checkpoint or another form that `seqmodels.load` takes, or a language model.
        max_length: tokens of a window of a long text, the token before it included; by default the positions of the
            network, or those that attention reaches, and one window for the whole text where neither is bounded: the
            state is carried through it.

    The harness gives its own arguments as well: `device` (cpu or cuda; by default what there is) and sizes of batches,
    which are not needed: batches are as large as the memory that is meant for logits.

    Raises:
        InputError: it is no language model, or max_length is not positive or more than the network has positions for.
    """

    def __init__(
        self,
        run: str | LanguageModel,
        max_length: int | None = None,
        device: str | None = None,
        batch_size: int | str | None = None,
        max_batch_size: int | None = None,
    ) -> None:
        super().__init__()
        task = load(run) if isinstance(run, str) else run
        if not isinstance(task, LanguageModel):
            raise InputError(f"{run!r} is no language model; give one to the harness")
        self.task = task.to(device or ("cuda" if choose_accelerator() == "gpu" else "cpu"))
        self._templated = bool(task.tokenizer.shift) and task.tokenizer.starts
        limit = task.backbone.max_length
        if max_length is not None and not 1 <= max_length <= (limit or max_length):
            raise InputError(f"max_length={max_length} was given; expected 1 to {limit or 'any number'}")
        self.max_length = max_length or limit or getattr(task.network, "context", None)

    @property
    def eot_token_id(self) -> int:
        """What stands before a text: BOS."""
        return BOS

    @property
    def tokenizer_name(self) -> str:
        """Of the cache of requests."""
        return f"seqmodels-{self.task.tokenizer.vocab_size}"

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **kwargs: Any) -> list[int]:
        """Ids of a text; of a public model, behind BOS where its tokenizer puts it.

        So a whole text, in front of which the harness sets BOS by itself, has two there, of which one is scored: this
        is how the harness counts them for transformers.
        """
        ids = self.task.tokenizer.encode(string)
        return [BOS, *ids] if self._templated and add_special_tokens is not False else ids

    def _encode_pair(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        """Ids of a context, behind BOS where prompts are, and of what follows."""
        before, ids = super()._encode_pair(context, continuation)
        return ([BOS, *before] if self.task.tokenizer.starts and not self._templated else before), ids

    def _loglikelihood_tokens(
        self, requests: Sequence[tuple[Any, list[int], list[int]]], **kwargs: Any
    ) -> list[tuple[float, bool]]:
        """Log-likelihood of each continuation after its context, and whether it is what greedy decoding gives.

        Of what is longer than the window the end is kept, as the harness does.
        """
        pairs = [self._fitting(context, ids) for _, context, ids in requests]
        return [(-nats, greedy) for nats, greedy in self.task.score_ids(pairs)]

    def _fitting(self, context: list[int], ids: list[int]) -> tuple[list[int], list[int]]:
        kept = (context + ids)[-(self.max_length + 1) :] if self.max_length else context + ids
        first = max(1, len(kept) - len(ids))
        return kept[:first], kept[first:]

    def loglikelihood_rolling(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[float]:
        """Log-likelihood of whole texts, in windows that do not overlap in what they score."""
        windows = [list(self._windows(request.args[0])) for request in requests]
        scores = iter(self.task.score_ids([pair for pairs in windows for pair in pairs]))
        return [-sum(next(scores)[0] for _ in pairs) for pairs in windows]

    def _windows(self, text: str) -> Iterator[tuple[list[int], list[int]]]:
        ids = self.tok_encode(text)
        length = self.max_length or max(1, len(ids))
        return map(make_disjoint_window, get_rolling_token_windows(ids, BOS, length, context_len=1))

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        """Continuations, greedy unless a request says otherwise."""
        return [self._generated(*request.args) for request in requests]

    def _generated(self, context: str, asked: dict[str, Any]) -> str:
        stop = asked.get("until") or []
        drawn = asked.get("do_sample", False) and asked.get("temperature", 1.0) > 0
        sampling = Sampling(temperature=asked.get("temperature", 1.0) if drawn else 0.0)
        length, limit = int(asked.get("max_gen_toks", MAX_TOKENS)), self.task.backbone.max_length
        if limit is not None:  # the end of a context that is too long, as the harness keeps it
            length = min(length, limit - 1)
            ids = self.tok_encode(context)
            context = self.task.tokenizer.decode(ids[-(limit - length) :]) if len(ids) >= limit - length else context
        stops = [stop] if isinstance(stop, str) else [one for one in stop if one]
        return "".join(self.task.generate(context, max_tokens=length, sampling=sampling, stop=stops, seed=0))


def main() -> None:
    """Run `lm_eval run` with this model."""
    from lm_eval.__main__ import cli_evaluate

    sys.argv[1:] = ["run", "--model", "seqmodels", *sys.argv[1:]]
    cli_evaluate()


if __name__ == "__main__":
    main()
