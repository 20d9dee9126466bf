"""The translator in use: an encoder reads the source, a decoder writes the target with the source in view."""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from seqmodels.batch import Batch
from seqmodels.data.tokenizers import Tokenizer
from seqmodels.decoding import Beam, Draws
from seqmodels.errors import InputError
from seqmodels.nn import Attentive, Backbone, Bidirectional, RecurrentStack, Trace
from seqmodels.nn.attention_decoder import Attention, Bridge, aligned
from seqmodels.nn.dropout import variational_dropout
from seqmodels.state import State
from seqmodels.tasks.batch_translation import Translation, translations
from seqmodels.tasks.freezing import frozen
from seqmodels.tasks.optim import OptimizerName, Schedule
from seqmodels.tasks.sequence_model import SequenceModel, check_fractions, check_weights
from seqmodels.tasks.workers import Workers

Tied = Literal["none", "target", "all"]


def _embedding(vocab_size: int, size: int) -> nn.Embedding:
    embedding = nn.Embedding(vocab_size, size)
    nn.init.normal_(embedding.weight, std=size**-0.5)
    return embedding


class EncoderDecoderModel(SequenceModel):
    """A `Translator` without what training needs; see there."""

    recorded_as = "Translator"

    identity = (
        "encoder", "decoder", "tokenizer", "source_tokenizer", "attention", "input_feeding", "bidirectional", "reverse",
        "tie_embeddings", "head_bias", "bridge", "optimizer", "lr", "weight_decay", "beta2", "freeze",
    )  # fmt: skip
    command = "translate"

    def __init__(
        self,
        encoder: Backbone,
        decoder: Backbone,
        tokenizer: Tokenizer,
        source_tokenizer: Tokenizer | None = None,
        attention: Attention = "additive",
        input_feeding: bool = False,
        bidirectional: bool = True,
        reverse: bool = False,
        dropout: float = 0.0,
        input_dropout: float = 0.0,
        label_smoothing: float = 0.0,
        r_drop: float = 0.0,
        tie_embeddings: Tied = "none",
        optimizer: OptimizerName = "adamw",
        lr: float = 3e-3,
        weight_decay: float = 0.01,
        beta2: float = 0.99,
        warmup: float = 0.03,
        schedule: Schedule = "cosine",
        freeze: list[str] | None = None,
        bridge: Bridge = "linear",
        head_bias: bool = True,
        search: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(tokenizer, optimizer, lr, weight_decay, beta2, warmup, schedule, label_smoothing)
        check_fractions(dropout=dropout, input_dropout=input_dropout)
        check_weights(r_drop=r_drop)
        self.source_tokenizer = source_tokenizer or tokenizer
        self.dropout, self.input_dropout, self.r_drop, self.reverse = dropout, input_dropout, r_drop, reverse
        if encoder.memory_size is not None or not decoder.causal:
            raise InputError(
                f"expected an encoder without a memory and a causal decoder, got {type(encoder).__name__} and "
                f"{type(decoder).__name__}; leave out memory_size of the encoder, or causal=False of the decoder"
            )
        self.encoder = Bidirectional(encoder) if bidirectional and encoder.causal else encoder
        size = self.encoder.output_size
        attends = decoder.memory_size is not None
        self.decoder = decoder if attends else Attentive(decoder, size, attention, input_feeding, bridge)
        if bridge == "copy":
            self._check_copy()
        if self.decoder.memory_size != size:
            raise InputError(
                f"the decoder attends to a memory of {self.decoder.memory_size} features, and the encoder's outputs "
                f"have {size}; make them alike"
            )
        self.source_embedding = _embedding(self.source_tokenizer.vocab_size, encoder.input_size)
        self.embedding = _embedding(tokenizer.vocab_size, decoder.input_size)
        self.head = nn.Linear(decoder.output_size, tokenizer.vocab_size)
        nn.init.zeros_(self.head.bias).requires_grad_(head_bias)
        self._tie(tie_embeddings, joint=self.source_tokenizer.has_tokens_of(tokenizer))
        self.search = search
        try:
            self.beam  # noqa: B018 - refuses settings that make no sense
        except TypeError as error:
            raise InputError(f"search={search!r:.200} was given; expected settings of Beam") from error
        self.frozen = frozen(self, freeze)

    def _check_copy(self) -> None:
        """Refuse networks of which the decoder cannot start from the state of the encoder."""
        inner = self.decoder.network if isinstance(self.decoder, Attentive) else self.decoder
        kinds = [
            f"{type(part).__name__} of {len(part.cells)} x {part.output_size} units"
            if isinstance(part, RecurrentStack)
            else type(part).__name__
            for part in (self.encoder, inner)
        ]
        if len(set(kinds)) > 1 or not isinstance(inner, RecurrentStack):
            raise InputError(
                f"bridge='copy' gives the decoder the state of the encoder, and they are {' and '.join(kinds)}; "
                "expected recurrent networks of one kind and size, with bidirectional=False"
            )

    def _tie(self, tied: Tied, joint: bool) -> None:
        if tied not in ("none", "target", "all"):
            raise InputError(f"tie_embeddings={tied!r} was given; choose none, target or all")
        if tied == "none":
            return
        if self.decoder.input_size != self.decoder.output_size:
            raise InputError(
                f"tie_embeddings={tied!r} needs a decoder as wide at its input as at its output, got "
                f"{self.decoder.input_size} and {self.decoder.output_size}"
            )
        self.head.weight = self.embedding.weight
        if tied == "all":
            if not joint or self.encoder.input_size != self.decoder.input_size:
                raise InputError(
                    "tie_embeddings='all' needs one vocabulary for both sides (joint=True), and an encoder and a "
                    f"decoder of one input size, got {self.encoder.input_size} and {self.decoder.input_size}"
                )
            self.source_embedding.weight = self.embedding.weight

    @property
    def network(self) -> nn.Module:
        """Encoder and decoder."""
        return nn.ModuleList([self.encoder, self.decoder])

    @property
    def name(self) -> str:
        """The classes of both networks, once where they are alike."""
        calls = self.constructor_call["init_args"]
        names = [calls[part]["class_path"].rpartition(".")[2] for part in ("encoder", "decoder")]
        return "-".join(dict.fromkeys(names))

    @property
    def max_length(self) -> int | None:
        """Maximum number of positions of source and target; None for no limit."""
        limits = [network.max_length for network in (self.encoder, self.decoder) if network.max_length is not None]
        return min(limits, default=None)

    @property
    def attends(self) -> bool:
        """Whether the decoder attends to the source at each step, so that there is an alignment to show."""
        return not (isinstance(self.decoder, Attentive) and self.decoder.align is None)

    def encode(self, source: Tensor, mask: Tensor | None = None) -> State:
        """Encode a source, token ids (B, S), for the decoder; the mask, bool (B, S), is False at padding."""
        if self.reverse:
            source, mask = source.flip(1), None if mask is None else mask.flip(1)
        x = variational_dropout(self.source_embedding(source), self.input_dropout, self.training)
        y, state = self.encoder(x, mask=mask)
        y = variational_dropout(y, self.dropout, self.training)
        real = torch.ones_like(source, dtype=torch.bool) if mask is None else mask
        summary = self.encoder.summary(y, real)
        if self.reverse:  # positions are those of the text again
            y, real = y.flip(1), real.flip(1)
        if isinstance(self.decoder, Attentive) and self.decoder.bridge == "copy":
            return self.decoder.remember(y, real, summary, state)
        return self.decoder.remember(y, real, summary)

    def read(self, source: Tensor) -> Trace:
        """The trace of the encoder on a source, token ids (B, S) with EOS at the end, in the order of the text."""
        if not self.reverse:
            return self.encoder.traced(self.source_embedding(source))[2]
        trace = self.encoder.traced(self.source_embedding(source.flip(1)))[2]
        for found, dims in ((trace.units, (1,)), (trace.gates, (1,)), (trace.attention, (2, 3))):
            found.update({name: tensor.flip(dims) for name, tensor in found.items()})
        return trace

    def forward(self, batch: Batch, state: State | None = None) -> tuple[Tensor, State]:
        """Logits (B, T, V) of the token after each input, and the decoder's state after the last.

        Targets are padded on the right, where a causal decoder needs no mask.
        """
        y, state = self._read(batch, state)
        return self.head(y), state

    def _read(self, batch: Batch, state: State | None) -> tuple[Tensor, State]:
        """Inputs of the softmax layer (B, T, D), and the decoder's state after the last position."""
        assert batch.source is not None
        memory = self.encode(batch.source, batch.source_mask)
        x = variational_dropout(self.embedding(batch.inputs), self.input_dropout, self.training)
        y, state = self.decoder(x, state, memory=memory)
        return variational_dropout(y, self.dropout, self.training), state

    def step(self, tokens: Tensor, state: State | None, memory: State) -> tuple[Tensor, State]:
        """One token per row, (B,), to logits of the next, (B, V), and the decoder's state: one step of decoding.

        The memory is the result of `encode`; rows of the same source are neighbours.
        """
        y, state = self.decoder(self.embedding(tokens).unsqueeze(1), state, memory=memory)
        return self.head(y.squeeze(1)), state

    def aligned_step(self, tokens: Tensor, state: State | None, memory: State) -> tuple[Tensor, State, Tensor]:
        """`step`, and its attention weights over the tokens of the source, (B, S).

        Raises:
            InputError: the decoder has no attention.
        """
        y, state, weights = aligned(self.decoder, self.embedding(tokens).unsqueeze(1), state, memory=memory)
        if weights is None:
            raise InputError("this translator has no attention: its decoder sees one vector of the source")
        return self.head(y.squeeze(1)), state, weights.squeeze(1)

    def translate(
        self,
        texts: Sequence[str],
        how: Beam | Draws | None = None,
        workers: int | None = 1,
    ) -> list[list[Translation]]:
        """Translate sentences; an empty one stays empty.

        Args:
            texts: any number, of any lengths.
            how: beam search, or ancestral sampling, whose score is the mean log-probability; by default the `search`
                that the model came with, or `Beam()`.
            workers: processes, each with a batch on a core of its own; None for as many as threads, if that is faster
                than all threads for one batch; see `Workers`.

        Returns:
            For each text its `n_best` hypotheses, the best first, or its `samples` as they were drawn. In single
            precision they do not depend on the other texts, up to rounding; in bf16 and int8 rounding may decide about
            a word. Samples follow from the random seed and the place of the text.
        """
        by = Workers(workers, self.device)
        return translations([self], texts, self.beam if how is None else how, workers=by)

    @property
    def beam(self) -> Beam:
        """The search of `translate`, unless it is told another."""
        return Beam(**(self.search or {}))
