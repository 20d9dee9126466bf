"""Completions, piece by piece: of a language model what it writes, of a translator the translation of the prompt."""

import secrets
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from seqmodels.decoding import Beam, Draws, RowGenerators, Sampling, Steps
from seqmodels.errors import InputError
from seqmodels.serving.requests import MAX_TOKENS, Completion, RequestError
from seqmodels.state import State
from seqmodels.tasks.autoregressive_model import AutoregressiveModel
from seqmodels.tasks.batch_translation import Translates, Translation, translations
from seqmodels.tasks.encoder_decoder_model import EncoderDecoderModel


class Part(NamedTuple):
    """A piece of a choice."""

    choice: int
    text: str
    finish: str | None = None
    """Why the text ends: stop or length; None if it goes on."""
    tokens: int = 0
    logprobs: dict[str, Any] | None = None


class Writer(Protocol):
    """A model that completes prompts."""

    def prepared(self, request: Completion) -> tuple[int, Callable[[], Iterator[Part]]]:
        """The number of tokens of the prompts, and what writes the choices, the n of a prompt side by side.

        Raises:
            InputError: this model cannot do what is asked for.
        """


class TextWriter:
    """Completions of a language model.

    Args:
        model: the model.
        longest: most tokens of a prompt and its completion.
    """

    def __init__(self, model: AutoregressiveModel, longest: int) -> None:
        self._model = model
        self._longest = min(longest, model.backbone.max_length or longest)

    def prepared(self, request: Completion) -> tuple[int, Callable[[], Iterator[Part]]]:
        """See `Writer.prepared`."""
        model = self._model
        for prompt in request.prompts:
            model.check_prompt(prompt)
        ids = model.prompt_ids(request.prompts)
        longest = max(map(len, ids))
        if request.max_tokens is None:
            max_tokens = max(0, min(MAX_TOKENS, self._longest - longest))
        else:
            max_tokens = request.max_tokens
        if longest + max_tokens > self._longest:
            raise RequestError(
                f"{longest} tokens of prompt and max_tokens={max_tokens} were given; expected at most "
                f"{self._longest} together",
                param="max_tokens",
            )
        if beyond := [token for token in request.sampling.logit_bias if token >= model.tokenizer.vocab_size]:
            raise RequestError(
                f"logit_bias is of token {beyond[0]}; expected ids below {model.tokenizer.vocab_size}",
                param="logit_bias",
            )
        if request.logprobs is not None and not hasattr(model.engine or model, "steps"):
            raise RequestError("logprobs was given, which this engine does not have; leave it out", param="logprobs")
        return sum(map(len, ids)), lambda: self._written(ids, max_tokens, request)

    def _written(self, ids: list[list[int]], max_tokens: int, request: Completion) -> Iterator[Part]:
        model = self._model
        seed = secrets.randbits(64) if request.seed is None else request.seed
        keys = [(prompt, number) for prompt in range(len(ids)) for number in range(request.n)]
        rng = RowGenerators(seed, keys, model.device)
        watching = None if request.logprobs is None else _Watching(model)
        if request.echo:
            for row in range(len(keys)):
                yield Part(row, request.prompts[row // request.n])
        offsets = [len(request.prompts[row // request.n]) if request.echo else 0 for row in range(len(keys))]
        for piece in model.pieces(ids, request.n, max_tokens, request.sampling, rng, request.stop, watching):
            logprobs = None
            if watching is not None and piece.token is not None:
                logprobs = watching.told(piece.token, request.logprobs or 0, offsets[piece.row])
                offsets[piece.row] += len(logprobs["tokens"][0])
            yield Part(piece.row, piece.text, piece.finish, int(piece.token is not None), logprobs)


class _Watching:
    """An engine that keeps the log-probabilities of the last step."""

    def __init__(self, model: AutoregressiveModel) -> None:
        self._model, self._place = model, 0
        self._found = torch.empty(0)

    def drawing(
        self, ids: list[list[int]], samples: int, sampling: Sampling, max_tokens: int, rng: RowGenerators
    ) -> Generator[list[int], Sequence[int] | None, None]:
        """See `Engine.drawing`."""
        source: Any = self._model.engine or self._model

        def steps(state: State | None, rows: int) -> Steps:
            inner: Steps = source.steps(state, rows)
            return _Watched(inner, self._keep)

        return self._model.drawing(ids, samples, sampling, max_tokens, rng, steps)

    def _keep(self, logits: Tensor) -> None:
        self._found, self._place = logits.float().log_softmax(-1), 0

    def told(self, token: int, most: int, offset: int) -> dict[str, Any]:
        """The log-probability of the next row's token and of the likeliest ones, as OpenAI writes them."""
        row = self._found[self._place]
        self._place += 1
        decode = self._model.tokenizer.decode
        best = row.topk(min(most, len(row)))
        top = {decode([i]): p for p, i in zip(best.values.tolist(), best.indices.tolist(), strict=True)}
        text = decode([token])
        return {
            "tokens": [text], "token_logprobs": [float(row[token])], "top_logprobs": [top], "text_offset": [offset],
        }  # fmt: skip


class _Watched:
    """Steps whose logits are shown to a function."""

    def __init__(self, steps: Steps, show: Callable[[Tensor], None]) -> None:
        self._steps, self._show, self.select = steps, show, steps.select

    def __call__(self, tokens: Tensor) -> Tensor:
        logits = self._steps(tokens)
        self._show(logits)
        return logits


ONLY_TEXT = ("stop", "logprobs", "echo", "logit_bias", "repetition_penalty")
"""Fields that make no sense for translations."""


class TranslationWriter:
    """Translations of prompts: by the search that the model came with, or by beam search; drawn at random where a
    temperature above 0 is given.

    Args:
        model: translates.
        longest: most tokens of a sentence.
        by: what translates, see `batch_translation.translations`.
    """

    def __init__(self, model: Translates, longest: int, by: Callable[..., Any] = translations) -> None:
        self._model, self._longest, self._by = model, min(longest, model.max_length or longest), by

    def prepared(self, request: Completion) -> tuple[int, Callable[[], Iterator[Part]]]:
        """See `Writer.prepared`."""
        for name in ONLY_TEXT:
            if name in request.given and getattr(request, name, True):
                raise RequestError(f"{name} was given to a translator; leave it out", param=name)
        tokens = [len(ids) for ids in self._model.source_tokenizer.encode_batch(request.prompts)]
        if max(tokens) >= self._longest:
            raise RequestError(
                f"a prompt has {max(tokens)} tokens; expected fewer than {self._longest}", param="prompt"
            )
        if request.max_tokens == 0:
            raise RequestError("max_tokens=0 was given to a translator; expected at least 1", param="max_tokens")
        how: Beam | Draws
        if "temperature" in request.given and request.sampling.temperature > 0:
            how = Draws(request.n, request.sampling, request.seed, request.max_tokens)
        else:
            own = (self._model.search or {}) if isinstance(self._model, EncoderDecoderModel) else {}
            size = max(own.get("size", Beam.size), request.n)
            how = Beam(**own | {"size": size, "n_best": request.n, "max_length": request.max_tokens})
        return sum(tokens), lambda: self._written(request, how)

    def _written(self, request: Completion, how: Beam | Draws) -> Iterator[Part]:
        count = self._model.tokenizer.encode_batch
        for place, prompt in enumerate(request.prompts):
            found: list[Translation] = self._by([self._model], [prompt], how, place)[0]
            found += [Translation("", 0.0, 0.0)] * (request.n - len(found))
            for number, one in enumerate(found):
                finish = "stop" if one.complete else "length"
                yield Part(place * request.n + number, one.text, finish, len(count([one.text])[0]) + one.complete)


def writer_of(model: object, longest: int, by: Callable[..., Any] = translations) -> Writer:
    """What completes prompts with a model.

    Raises:
        InputError: it is no model that writes.
    """
    if isinstance(model, AutoregressiveModel):
        return TextWriter(model, longest)
    if hasattr(model, "encode") and hasattr(model, "source_tokenizer"):
        return TranslationWriter(model, longest, by)  # type: ignore[arg-type]
    raise InputError(f"a {type(model).__name__} was given; expected a language model or a translator")
