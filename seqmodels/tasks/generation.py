"""Text from a language model: one prompt as it is drawn, or many in batches."""

import secrets
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from seqmodels.batch import BOS, EOS, PAD, SPECIAL_TOKENS, UNK
from seqmodels.data.tokenizers import Tokenizer
from seqmodels.decoding import RowGenerators, Sampling, VisibleText, stream
from seqmodels.errors import InputError
from seqmodels.nn import Backbone
from seqmodels.nn.dropout import evaluating
from seqmodels.nn.steppers import make_stepper
from seqmodels.state import State, repeat
from seqmodels.tasks.stepping import Predicting, Replayed

ROWS = 64
"""Most rows that are written at a time."""
READ = 512
"""Positions of the prompts that are read in one call."""
USUAL = 500
"""How many tokens are drawn at most where nobody says."""


class Generation(nn.Module):
    """What a language model writes: a mixin of `LanguageModel`, over its embedding, network and softmax layer."""

    tokenizer: Tokenizer
    backbone: Backbone
    embedding: nn.Embedding
    head: nn.Linear

    def generate(
        self,
        prompt: str = "",
        *,
        max_tokens: int | None = None,
        sampling: Sampling = Sampling(),  # noqa: B008 - immutable
        seed: int | None = None,
        stop: Sequence[str] = (),
    ) -> Iterator[str]:
        """Continue a prompt, or begin a text, piece by piece as it is drawn.

        Args:
            prompt: text to continue; it is not repeated.
            max_tokens: how many tokens to draw at most; fewer where the end of a document is drawn. Where not given,
                500, or as many as the network has positions for.
            sampling: temperature, top-k, top-p and so on.
            seed: draw the same text again; None for another each time.
            stop: the text ends before the first of these strings; no part of it is shown.

        Yields:
            Text; joined, it is the continuation. Until the last piece, the model is in evaluation mode.

        Raises:
            InputError: the prompt has a character outside the vocabulary, the text would outgrow what the network can
                read, or an argument makes no sense.
        """
        return continuation(self, prompt, max_tokens, sampling, seed, stop)

    def generate_batch(
        self,
        prompts: Sequence[str],
        *,
        samples: int = 1,
        max_tokens: int | None = None,
        sampling: Sampling = Sampling(),  # noqa: B008 - immutable
        seed: int | None = None,
        stop: Sequence[str] = (),
    ) -> list[list[str]]:
        """Continue many prompts, of any lengths, several times each.

        A text does not depend on what is written beside it. With a seed, it follows from the seed, the prompt, the
        place of the prompt among the prompts and its own among the samples; so the first sample of the first prompt
        is the text that `generate` writes, and more samples or prompts leave the first ones as they were. (On the
        same machine: sums in another order may round otherwise, and so tip a close call.)

        Args:
            prompts: texts to continue.
            samples: how many texts for each; the prompt is read once for up to 64 of them.
            max_tokens: see `generate`; where not given, the longest prompt decides for all.
            sampling: see there.
            seed: see there.
            stop: see there.

        Returns:
            For each prompt its continuations.

        Raises:
            InputError: see there.
        """
        return list(continuations(self, prompts, samples, max_tokens, sampling, seed, stop))

    def steps(self, state: State | None, rows: int) -> Predicting | Replayed:
        """The same for many steps, without gradients and with the state kept inside: what writing runs on.

        Args:
            state: before the first step; None at the start.
            rows: how many there are.
        """
        steps = Predicting(make_stepper(self.backbone, self.embedding.weight, state, rows), self.head)
        return Replayed(steps) if steps.recordable else steps

    def check_prompt(self, prompt: str) -> None:
        """Refuse a prompt that the vocabulary cannot write.

        Raises:
            InputError: it has a character that no token stands for.
        """
        if unknown := self.tokenizer.unknown(prompt):
            raise InputError(
                f"the prompt has {unknown!r}, which the vocabulary of {self.tokenizer.vocab_size} tokens lacks; "
                "leave it out, or train with bytes or bpe"
            )


def continuation(
    model: "Generation",
    prompt: str,
    max_tokens: int | None,
    sampling: Sampling,
    seed: int | None,
    stop: Sequence[str],
) -> Iterator[str]:
    """One text, piece by piece; see `LanguageModel.generate`."""
    (ids,), max_tokens = _prepared(model, [prompt], max_tokens, sampling, stop)
    chance = RowGenerators(seed, [(0, 0)], model.embedding.weight.device)
    return (piece for _, piece in _written(model, [ids], 1, max_tokens, sampling, chance, stop))


def continuations(
    model: "Generation",
    prompts: Sequence[str],
    samples: int,
    max_tokens: int | None,
    sampling: Sampling,
    seed: int | None,
    stop: Sequence[str],
) -> Iterator[list[str]]:
    """The samples of each prompt, in the order of the prompts; see `LanguageModel.generate_batch`."""
    if samples < 1:
        raise InputError(f"samples={samples} was given; expected at least 1")
    ids, max_tokens = _prepared(model, prompts, max_tokens, sampling, stop)
    if seed is None:
        seed = secrets.randbits(64)  # chosen once for all batches
    return _in_batches(model, ids, samples, max_tokens, sampling, seed, stop)


def token_bias(tokenizer: Tokenizer, bias: Mapping[str, float]) -> dict[int, float]:
    """A logit bias by the text of tokens as one by their ids, for `Sampling`.

    Args:
        tokenizer: whose tokens.
        bias: text of one token, or `<eos>` for the end of a document, to a number.

    Raises:
        InputError: a text is not one token.
    """
    found = {}
    for text, number in bias.items():
        ids = [EOS] if text == SPECIAL_TOKENS[EOS] else tokenizer.encode(text)
        if len(ids) != 1 or ids[0] == UNK:
            pieces = [] if UNK in ids else [tokenizer.decode([i]) for i in ids]
            what = f"is {len(ids)} tokens, {pieces}" if len(pieces) > 1 else "is not in the vocabulary"
            raise InputError(f"the logit bias of {text!r} was given, which {what}; expected the text of one token")
        found[ids[0]] = number
    return found


def _prepared(
    model: "Generation", prompts: Sequence[str], max_tokens: int | None, sampling: Sampling, stop: Sequence[str]
) -> tuple[list[list[int]], int]:
    """Token ids of the prompts with BOS in front, and how many tokens to draw; refuses what cannot be done."""
    VisibleText(stop)
    vocabulary = model.tokenizer.vocab_size
    if unknown := [token for token in sampling.logit_bias if token >= vocabulary]:
        raise InputError(f"logit_bias is of token {unknown[0]}; expected ids below {vocabulary}")
    for number, prompt in enumerate(prompts, 1):
        try:
            model.check_prompt(prompt)
        except InputError as error:
            raise error if len(prompts) == 1 else InputError(f"prompt {number} of {len(prompts)}: {error}") from None
    ids = [[BOS, *tokens] for tokens in model.tokenizer.encode_batch(prompts)]
    longest = max((len(tokens) for tokens in ids), default=1)
    limit = model.backbone.max_length
    if max_tokens is None:
        max_tokens = USUAL if limit is None else max(0, min(USUAL, limit - longest))
    if max_tokens < 0:
        raise InputError(f"max_tokens={max_tokens} was given; expected at least 0")
    if limit is not None and longest + max_tokens > limit:
        raise InputError(
            f"{longest} tokens of prompt and {max_tokens} more exceed the {limit} positions of this network; "
            f"ask for at most max_tokens={max(0, limit - longest)}"
        )
    return ids, max_tokens


def _in_batches(
    model: "Generation",
    ids: list[list[int]],
    samples: int,
    max_tokens: int,
    sampling: Sampling,
    seed: int,
    stop: Sequence[str],
) -> Iterator[list[str]]:
    at_once = min(samples, ROWS)  # samples of a prompt
    together = ROWS // at_once  # prompts
    for first in range(0, len(ids), together):
        some = ids[first : first + together]
        texts: list[list[str]] = [[] for _ in some]
        for part in range(0, samples, at_once):
            numbers = range(part, min(samples, part + at_once))
            keys = [(first + place, number) for place in range(len(some)) for number in numbers]
            pieces: list[list[str]] = [[] for _ in keys]
            chance = RowGenerators(seed, keys, model.embedding.weight.device)
            for row, piece in _written(model, some, len(numbers), max_tokens, sampling, chance, stop):
                pieces[row].append(piece)
            for row, text in enumerate(pieces):
                texts[row // len(numbers)].append("".join(text))
        yield from texts


@torch.inference_mode()  # as a decorator it is left at every yield, and entered again after it
def _written(
    model: "Generation",
    ids: list[list[int]],
    samples: int,
    max_tokens: int,
    sampling: Sampling,
    chance: RowGenerators,
    stop: Sequence[str],
) -> Iterator[tuple[int, str]]:
    """Pieces of text as they come, each with its row: the samples of a prompt are rows side by side."""
    device = model.embedding.weight.device
    with evaluating(model):
        state, seen = _read(model, [tokens[:-1] for tokens in ids])
        # What was read so far is the state; the last token of a prompt is the first to step on from.
        last = torch.tensor([tokens[-1] for tokens in ids], device=device)
        if samples > 1:
            state = None if state is None else repeat(state, samples)
            seen, last = seen.repeat_interleave(samples, 0), last.repeat_interleave(samples)
        drawing = stream(model.steps(state, len(last)), last, sampling, max_tokens, chance, seen)
        transcripts = [VisibleText(stop) for _ in last]
        writers = [model.tokenizer.writer(tokens) for tokens in ids for _ in range(samples)]
        rows, staying = list(range(len(last))), None
        while rows:
            try:
                tokens = drawing.send(staying)
            except StopIteration:
                break
            go_on = []
            for place, (row, token) in enumerate(zip(rows, tokens, strict=True)):
                transcript, end = transcripts[row], token == EOS
                if text := transcript.add(writers[row](token), final=end):
                    yield row, text
                if not end and not transcript.stopped:
                    go_on.append(place)
            staying = None if len(go_on) == len(rows) else go_on
            rows = [rows[place] for place in go_on]
        for row in rows:  # those that were cut off by the number of tokens
            if text := transcripts[row].add(b"", final=True):
                yield row, text


def _read(model: "Generation", ids: list[list[int]]) -> tuple[State | None, Tensor]:
    """The state after reading sequences of unequal length, and which tokens each had, bool (B, V)."""
    device = model.embedding.weight.device
    seen = torch.zeros(len(ids), model.tokenizer.vocab_size, dtype=torch.bool, device=device)
    width = max(len(tokens) for tokens in ids)
    if not width:
        return None, seen
    # Padding on the left, so that all rows end at the same place and go on from there without a mask.
    padded = torch.tensor([[PAD] * (width - len(tokens)) + tokens for tokens in ids], device=device)
    lengths = [len(tokens) for tokens in ids]
    mask = torch.arange(width) >= width - torch.tensor(lengths)[:, None]
    real = mask.to(device) if min(lengths) < width else None
    state: State | None = None
    for first in range(0, width, READ):
        piece = slice(first, first + READ)
        x = model.embedding(padded[:, piece])
        _, state = model.backbone(x, state, mask=None if real is None else real[:, piece])
    return state, seen.scatter(1, padded, True)
