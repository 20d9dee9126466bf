"""Generation and translation by CTranslate2, of models that `convert` wrote."""

from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import torch

from seqmodels.batch import EOS
from seqmodels.decoding import Beam, Draws, RowGenerators, Sampling
from seqmodels.environment import threads
from seqmodels.errors import InputError
from seqmodels.interop.ctranslate2.convert import positions
from seqmodels.interop.optional import optional
from seqmodels.nn import Transformer
from seqmodels.tasks.autoregressive_model import AutoregressiveModel
from seqmodels.tasks.batch_translation import Translation
from seqmodels.tasks.encoder_decoder_model import EncoderDecoderModel

ROWS = 32
"""Sentences that are translated side by side."""

LARGE = 1 << 28
"""Bytes of weights from which a step of generation is shared by all threads.

The threads of CTranslate2 count together with those of torch, in the OpenMP runtime that both use, and where there are
more than cores, that runtime lets them sleep at once. Waking them up takes longer than what they share in a small step.
"""


def _settings(*, int8: bool = False, batches: int = 1, share: int = 1) -> dict[str, Any]:
    """Settings of a model that works on so many batches side by side, each by so many threads."""
    return {
        "device": "cpu", "compute_type": "int8" if int8 else "float32", "inter_threads": batches,
        "intra_threads": share,
    }  # fmt: skip


def generator_settings(model: AutoregressiveModel, *, int8: bool = False) -> dict[str, Any]:
    """Settings of a generator: one thread, or all of torch's for weights of 256 MiB or more."""
    size = sum(weights.numel() for weights in model.parameters()) * (1 if int8 else 4)
    return _settings(int8=int8, share=torch.get_num_threads() if size >= LARGE else 1)


class GeneratorEngine:
    """Generation by a `ctranslate2.Generator`: see `tasks.generation.Engine`.

    The likeliest tokens are those of torch, up to rounding. Random ones follow the same distribution by other random
    numbers, so that a random seed gives another text than torch; it counts from the start of the program.

    Args:
        model: which was converted.
        folder: of the converted model.
        int8: products with 8-bit weights.

    Raises:
        InputError: CTranslate2 is not installed.
    """

    def __init__(self, model: AutoregressiveModel, folder: Path, *, int8: bool = False) -> None:
        self._library = optional("ctranslate2", "ctranslate2", "--engine ctranslate2")
        with threads():
            self._generator = self._library.Generator(str(folder), **generator_settings(model, int8=int8))
        assert isinstance(model.backbone, Transformer)
        self._positions, self._ends = positions(model.backbone), sorted(model.tokenizer.ends)

    def drawing(
        self, ids: list[list[int]], samples: int, sampling: Sampling, max_tokens: int, rng: RowGenerators
    ) -> Generator[list[int], Sequence[int] | None, None]:
        """See `Engine.drawing`; all tokens of several rows are there before the first is given."""
        if sampling.min_p is not None or sampling.logit_bias:
            flag = "min_p" if sampling.min_p is not None else "logit_bias"
            raise InputError(f"{flag} was given, which CTranslate2 does not have; leave it out, or take another engine")
        if sampling.repetition_penalty != 1:
            raise InputError(
                f"repetition_penalty={sampling.repetition_penalty:g} was given, for which CTranslate2 does not count "
                "the tokens of the prompt; leave it out, or take another engine"
            )
        longest = max(map(len, ids)) + max_tokens
        if longest > self._positions:
            raise InputError(
                f"{longest - max_tokens} tokens of prompt and {max_tokens} more exceed the {self._positions} positions "
                "up to which CTranslate2 computes what this network does; ask for fewer tokens, or take another engine"
            )
        greedy = sampling.temperature == 0 or sampling.top_k == 1
        how: dict[str, Any] = {
            "max_length": max_tokens, "min_length": 0, "include_prompt_in_result": False,
            "sampling_topk": 1 if greedy else sampling.top_k or 0, "end_token": self._ends,
        }  # fmt: skip
        if not greedy:
            how |= {"sampling_temperature": sampling.temperature, "sampling_topp": sampling.top_p or 1.0}
            self._library.set_random_seed(int(rng.next()[0] * 2**31))
        prompts = [[str(token) for token in tokens] for tokens in ids for _ in range(samples)]
        if not max_tokens:
            return
        if len(prompts) == 1:
            for step in self._generator.generate_tokens(prompts[0], **_of_tokens(how)):
                if (yield [step.token_id]) == []:
                    return
            return
        texts: list[list[int]] = [[] for _ in prompts]
        for length in {len(prompt) for prompt in prompts}:  # beside a prompt of one token, results have their prompts
            alike = [row for row, prompt in enumerate(prompts) if len(prompt) == length]
            found = self._generator.generate_batch([prompts[row] for row in alike], return_end_token=True, **how)
            for row, one in zip(alike, found, strict=True):
                texts[row] = list(one.sequences_ids[0])
        rows = list(range(len(texts)))
        for place in range(max_tokens):
            staying = yield [texts[row][place] if place < len(texts[row]) else EOS for row in rows]
            if staying is not None:
                rows = [rows[row] for row in staying]
                if not rows:
                    return


def _of_tokens(how: dict[str, Any]) -> dict[str, Any]:
    """Arguments of `generate_tokens`, which has no prompt in its result anyway."""
    return {name: value for name, value in how.items() if name != "include_prompt_in_result"}


class TranslatorEngine:
    """Translation by a `ctranslate2.Translator`.

    Args:
        model: which was converted.
        folder: of the converted model.
        int8: products with 8-bit weights.

    Raises:
        InputError: CTranslate2 is not installed.
    """

    def __init__(self, model: EncoderDecoderModel, folder: Path, *, int8: bool = False) -> None:
        library = optional("ctranslate2", "ctranslate2", "--engine ctranslate2")
        with threads():
            self._translator = library.Translator(str(folder), **_settings(int8=int8, batches=torch.get_num_threads()))
        assert isinstance(model.encoder, Transformer)
        assert isinstance(model.decoder, Transformer)
        self._model = model
        self._longest = min(positions(model.encoder), positions(model.decoder))

    def translations(self, texts: Sequence[str], how: Beam | Draws, first_number: int = 0) -> list[list[Translation]]:
        """See `batch_translation.translations`; a source is cut at the positions of the network, and so is its target.

        Raises:
            InputError: CTranslate2 has no such search.
        """
        check_search(how)
        assert isinstance(how, Beam)
        model = self._model
        given = [text if text.strip() else "" for text in texts]
        sources = [ids[: self._longest - 1] for ids in model.source_tokenizer.encode_batch(given)]
        rows = [row for row, ids in enumerate(sources) if ids]
        results = [[Translation("", 0.0, 0.0)] for _ in texts]
        if not rows:
            return results
        allowed = how.limits([len(ids) for ids in sources], model.longest_target)
        # An end that is forced costs nothing, so the search ends a token earlier.
        limits = [max(1, min(self._longest, limit) - how.forced_end) for limit in allowed]
        found = dict(zip(rows, self._found([sources[row] for row in rows], how, max(limits)), strict=True))
        # The limit is one for all of a call; those few that went beyond their own are searched again within it.
        beyond = [row for row in rows if max(len(tokens) for tokens in found[row].hypotheses) > limits[row]]
        for limit in {limits[row] for row in beyond}:
            alike = [row for row in beyond if limits[row] == limit]
            found |= zip(alike, self._found([sources[row] for row in alike], how, limit), strict=True)
        for row in rows:
            best = []
            for tokens, score in zip(found[row].hypotheses, found[row].scores, strict=True):
                ids = [int(token) for token in tokens]
                complete = ids[-1:] == [EOS]
                text = model.tokenizer.decode(ids[:-1] if complete else ids)
                total = score * float(how.divisor(max(1, len(ids))))
                if how.forced_end and not complete:
                    score, complete = total / float(how.divisor(len(ids) + 1)), True
                best.append(Translation(text, score, total, complete))
            results[row] = best
        return results

    def _found(self, sources: list[list[int]], how: Beam, limit: int) -> list[Any]:
        """The hypotheses of some sources, EOS included."""
        return self._translator.translate_batch(  # type: ignore[no-any-return]
            [list(map(str, ids)) for ids in sources], max_batch_size=ROWS, beam_size=how.size,
            num_hypotheses=how.n_best, length_penalty=how.length_penalty, min_decoding_length=how.min_length,
            max_decoding_length=limit, return_scores=True, return_end_token=True,
        )  # fmt: skip


def check_search(how: Beam | Draws) -> None:
    """Refuse (InputError) what CTranslate2 does not do as this package does."""
    why = None
    if isinstance(how, Draws):
        why = "samples were asked for, which it would draw by other random numbers"
    elif how.normalization != "length":
        why = f"normalization={how.normalization!r} was given, which it does not have"
    elif how.coverage_penalty:
        why = "a coverage penalty was given, which it computes otherwise"
    elif how.exhaustive:
        why = "an exhaustive search was asked for, which it does not have"
    if why:
        raise InputError(f"CTranslate2 was to translate, and {why}; leave it out, or the engine")
