"""Text from a language model: one prompt, streamed, or many in batches."""

import secrets
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from seqmodels.batch import BOS, EOS, PAD, SPECIAL_TOKENS, UNK
from seqmodels.data.tokenizers import Tokenizer
from seqmodels.decoding import RowGenerators, Sampling, Steps, VisibleText, stream
from seqmodels.errors import InputError, hinted
from seqmodels.nn import Backbone
from seqmodels.nn.dropout import evaluating
from seqmodels.nn.steppers import make_stepper
from seqmodels.state import State, repeat
from seqmodels.tasks.stepping import GraphedPredictor, Predictor
from seqmodels.tasks.workers import Workers

ROWS = 64
"""Maximum number of rows that are generated side by side."""
READ = 512
"""Positions of the prompts per call of the network."""
USUAL = 500
"""Maximum number of tokens to generate where none is given."""


DRAWN = "give sampling=Sampling(temperature=..., top_k=..., top_p=...)"
COUNT = "give max_tokens"
hint = hinted(temperature=DRAWN, top_k=DRAWN, top_p=DRAWN, min_p=DRAWN, do_sample=DRAWN, repetition_penalty=DRAWN,
              max_length=COUNT, max_new_tokens=COUNT, length=COUNT)  # fmt: skip
"""For arguments that `generate` has elsewhere."""

Drawing = Generator[list[int], Sequence[int] | None, None]
"""The next token of each row, again and again; see `decoding.stream`."""


class Piece(NamedTuple):
    """What a token adds to a text."""

    row: int
    text: str
    """Empty while it could still begin a stop string, or is part of a character."""
    token: int | None
    """None where a text is cut off after its last token."""
    finish: Literal["stop", "length"] | None = None
    """Why the text ends here; None if it goes on."""


class Engine(Protocol):
    """Another program that computes what a model predicts."""

    def drawing(
        self, ids: list[list[int]], samples: int, sampling: Sampling, max_tokens: int, rng: RowGenerators
    ) -> Drawing:
        """See `Generation.drawing`."""


class Generation(nn.Module):
    """Generation of text: a mixin of `LanguageModel`."""

    tokenizer: Tokenizer
    backbone: Backbone
    embedding: nn.Embedding
    head: nn.Linear
    engine: Engine | None = None
    """What draws tokens in place of torch; None for torch."""

    @hint
    def generate(
        self,
        prompt: str = "",
        *,
        max_tokens: int | None = None,
        sampling: Sampling = Sampling(),  # noqa: B008 - immutable
        seed: int | None = None,
        stop: Sequence[str] = (),
    ) -> Iterator[str]:
        """Continue a prompt, or begin a document, piece by piece.

        Args:
            prompt: text to continue; it is not repeated.
            max_tokens: maximum number of tokens, fewer where one is drawn that ends a text; by default 500, or as
                many as the network has positions for.
            sampling: temperature, top-k, top-p and so on.
            seed: random seed; None for an unpredictable one.
            stop: the text ends before the first of these strings.

        Yields:
            Pieces of the continuation. Until the last one, the model is in evaluation mode.

        Raises:
            InputError: the prompt has a character outside the vocabulary, the text would exceed the positions of the
                network, or an argument is out of range.
        """
        (ids,), max_tokens = self._prepared([prompt], max_tokens, sampling, stop)
        rng = RowGenerators(seed, [(0, 0)], self.embedding.weight.device)
        return (piece for _, piece in self._written([ids], 1, max_tokens, sampling, rng, stop))

    @hint
    def generate_batch(
        self,
        prompts: Sequence[str],
        *,
        samples: int = 1,
        max_tokens: int | None = None,
        sampling: Sampling = Sampling(),  # noqa: B008 - immutable
        seed: int | None = None,
        stop: Sequence[str] = (),
        workers: int | None = 1,
    ) -> list[list[str]]:
        """The continuations of many prompts, of any lengths, `samples` for each; other arguments as of `generate`.

        A text does not depend on those beside it: with a random seed, it follows from the seed, the prompt, and the
        places of prompt and sample. So the first sample of the first prompt is the text that `generate` gives. (Up to
        rounding, which may differ between batch sizes and decide a close call.) By default, the longest prompt decides
        about `max_tokens` for all. A prompt is read once for up to 64 samples. `workers` are processes, each with a
        batch of 64 texts on a core of its own; None for as many as threads, if that is faster: see `Workers`.

        Returns:
            For each prompt its continuations.

        Raises:
            InputError: see `generate`.
        """
        by = Workers(workers, self.embedding.weight.device)
        return list(self.continuations(prompts, samples, max_tokens, sampling, seed, stop, by))

    def continuations(
        self, prompts: Sequence[str], samples: int, max_tokens: int | None, sampling: Sampling, seed: int | None,
        stop: Sequence[str], workers: Workers | None = None,
    ) -> Iterator[list[str]]:  # fmt: skip
        """`generate_batch` prompt by prompt, as batches are done."""
        if samples < 1:
            raise InputError(f"samples={samples} was given; expected at least 1")
        ids, count = self._prepared(prompts, max_tokens, sampling, stop)
        seed = secrets.randbits(64) if seed is None else seed  # one for all batches
        at_once = min(samples, ROWS)  # samples of a prompt
        together = ROWS // at_once  # prompts
        parts = [range(first, min(samples, first + at_once)) for first in range(0, samples, at_once)]
        firsts = range(0, len(ids), together)

        def batch(place: tuple[int, range]) -> list[list[str]]:
            """Some samples of some prompts."""
            first, numbers = place
            some = ids[first : first + together]
            keys = [(first + place, number) for place in range(len(some)) for number in numbers]
            pieces: list[list[str]] = [[] for _ in keys]
            rng = RowGenerators(seed, keys, self.embedding.weight.device)
            for row, piece in self._written(some, len(numbers), count, sampling, rng, stop):
                pieces[row].append(piece)
            texts = iter(["".join(text) for text in pieces])
            return [[next(texts) for _ in numbers] for _ in some]

        def in_batches() -> Iterator[list[str]]:
            found = (workers or Workers()).map(batch, [(first, numbers) for first in firsts for numbers in parts])
            for _ in firsts:
                of_parts = [next(found) for _ in parts]
                yield from ([text for one in of_prompt for text in one] for of_prompt in zip(*of_parts, strict=True))

        return in_batches()

    def steps(self, state: State | None, rows: int) -> Predictor | GraphedPredictor:
        """Many steps of `rows` rows without gradients, which keep the state to themselves: see `decoding.Steps`."""
        steps = Predictor(make_stepper(self.backbone, self.embedding.weight, state, rows), self.head)
        return GraphedPredictor(steps) if steps.recordable else steps

    def drawing(
        self, ids: list[list[int]], samples: int, sampling: Sampling, max_tokens: int, rng: RowGenerators,
        steps: Callable[[State | None, int], Steps] | None = None,
    ) -> Drawing:  # fmt: skip
        """Draw continuations of prompts.

        Args:
            ids: of each prompt, of any number.
            samples: continuations of each, which are rows side by side.
            sampling: how to draw.
            max_tokens: of each.
            rng: random numbers of the rows.
            steps: makes the steps that go on from a state of so many rows; by default those of this model.

        Yields:
            See `decoding.stream`.
        """
        state, seen = self._read([tokens[:-1] for tokens in ids])
        # The state has read the prompts but for their last tokens, which the first step reads.
        last = torch.tensor([tokens[-1] for tokens in ids], device=self.embedding.weight.device)
        if samples > 1:
            state = None if state is None else repeat(state, samples)
            seen, last = seen.repeat_interleave(samples, 0), last.repeat_interleave(samples)
        return stream((steps or self.steps)(state, len(last)), last, sampling, max_tokens, rng, seen)

    def prompt_ids(self, prompts: Sequence[str]) -> list[list[int]]:
        """Token ids of prompts, none of them empty: behind BOS where texts of this vocabulary begin with it."""
        begins = self.tokenizer.starts
        return [[BOS, *tokens] if begins or not tokens else tokens for tokens in self.tokenizer.encode_batch(prompts)]

    def check_prompt(self, prompt: str) -> None:
        """Refuse a prompt with a character that has no token, by an InputError."""
        if unknown := self.tokenizer.unknown(prompt):
            raise InputError(
                f"the prompt has {unknown!r}, which the vocabulary of {self.tokenizer.vocab_size} tokens lacks; "
                "leave it out, or train with bytes or bpe"
            )

    def _prepared(
        self, prompts: Sequence[str], max_tokens: int | None, sampling: Sampling, stop: Sequence[str]
    ) -> tuple[list[list[int]], int]:
        """Token ids of the prompts, not empty, and the number of tokens to draw; refuses bad arguments."""
        VisibleText(stop)
        vocabulary = self.tokenizer.vocab_size
        if unknown := [token for token in sampling.logit_bias if token >= vocabulary]:
            raise InputError(f"logit_bias is of token {unknown[0]}; expected ids below {vocabulary}")
        if isinstance(prompts, str):
            raise InputError(f"expected a list of prompts, got {prompts!r:.80}")
        for prompt in prompts:
            if not isinstance(prompt, str):
                raise InputError(f"a prompt is text, got {prompt!r:.80}; generate_batch takes a list of them")
        for number, prompt in enumerate(prompts, 1):
            try:
                self.check_prompt(prompt)
            except InputError as error:
                if len(prompts) == 1:
                    raise
                raise InputError(f"prompt {number} of {len(prompts)}: {error}") from None
        ids = self.prompt_ids(prompts)
        longest = max((len(tokens) for tokens in ids), default=1)
        limit = self.backbone.max_length
        if max_tokens is None:
            max_tokens = USUAL if limit is None else max(0, min(USUAL, limit - longest))
        if max_tokens < 0:
            raise InputError(f"max_tokens={max_tokens} was given; expected at least 0")
        if limit is not None and longest + max_tokens > limit:
            left = limit - longest
            raise InputError(
                f"{longest} tokens of prompt and {max_tokens} more exceed the {limit} positions of this network; "
                + (f"ask for at most max_tokens={left}" if left > 0 else "give a shorter prompt")
            )
        return ids, max_tokens

    def _written(
        self, ids: list[list[int]], samples: int, max_tokens: int, sampling: Sampling, rng: RowGenerators,
        stop: Sequence[str],
    ) -> Iterator[tuple[int, str]]:  # fmt: skip
        """Pieces of text, each with its row: the samples of a prompt are rows side by side."""
        pieces = self.pieces(ids, samples, max_tokens, sampling, rng, stop)
        return ((piece.row, piece.text) for piece in pieces if piece.text)

    @torch.inference_mode()  # as a decorator it is left at every yield, and entered again after it
    def pieces(
        self, ids: list[list[int]], samples: int, max_tokens: int, sampling: Sampling, rng: RowGenerators,
        stop: Sequence[str], engine: Engine | None = None,
    ) -> Iterator[Piece]:  # fmt: skip
        """Continuations of prompts, token by token; arguments as of `drawing`.

        Args:
            ids: see there.
            samples: see there.
            max_tokens: see there.
            sampling: see there.
            rng: see there.
            stop: see `generate`.
            engine: what draws; by default that of this model.
        """
        with evaluating(self):
            drawing = (engine or self.engine or self).drawing(ids, samples, sampling, max_tokens, rng)
            rows, staying = list(range(len(ids) * samples)), None
            visible = [VisibleText(stop) for _ in rows]
            writers = [self.tokenizer.writer(tokens) for tokens in ids for _ in range(samples)]
            while rows:
                try:
                    tokens = drawing.send(staying)
                except StopIteration:
                    break
                stay = []
                for place, (row, token) in enumerate(zip(rows, tokens, strict=True)):
                    end = token in self.tokenizer.ends
                    text = visible[row].add(b"" if end else writers[row](token), final=end)
                    ends = end or visible[row].stopped
                    yield Piece(row, text, token, "stop" if ends else None)
                    if not ends:
                        stay.append(place)
                staying = None if len(stay) == len(rows) else stay
                rows = [rows[place] for place in stay]
            for row in rows:  # cut off by the number of tokens
                yield Piece(row, visible[row].add(b"", final=True), None, "length")

    def _read(self, ids: list[list[int]]) -> tuple[State | None, Tensor]:
        """The state after sequences of unequal length, and the tokens that each has, bool (B, V)."""
        device = self.embedding.weight.device
        seen = torch.zeros(len(ids), self.tokenizer.vocab_size, dtype=torch.bool, device=device)
        width = max(len(tokens) for tokens in ids)
        if not width:
            return None, seen
        # Padding on the left: all rows end at the same place and go on without a mask.
        padded = torch.tensor([[PAD] * (width - len(tokens)) + tokens for tokens in ids], device=device)
        lengths = [len(tokens) for tokens in ids]
        mask = torch.arange(width) >= width - torch.tensor(lengths)[:, None]
        real = mask.to(device) if min(lengths) < width else None
        state: State | None = None
        for first in range(0, width, READ):
            piece = slice(first, first + READ)
            x = self.embedding(padded[:, piece])
            _, state = self.backbone(x, state, mask=None if real is None else real[:, piece])
        return state, seen.scatter(1, padded, True)


def token_bias(tokenizer: Tokenizer, bias: Mapping[str, float]) -> dict[int, float]:
    """A logit bias by the text of tokens as one by token ids, for `Sampling`.

    Args:
        tokenizer: the tokenizer of the model.
        bias: text of one token, or `<eos>`, to a number.

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
