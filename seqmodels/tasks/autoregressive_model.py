"""The model of the next token in use: embedding, network, softmax layer."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from seqmodels.batch import Batch
from seqmodels.data.tokenizers import Tokenizer
from seqmodels.errors import InputError
from seqmodels.nn import Backbone, Cell, RecurrentStack, Trace
from seqmodels.nn.capped_linear import CappedLinear
from seqmodels.nn.dropout import embedding_dropout, variational_dropout
from seqmodels.state import State
from seqmodels.tasks.freezing import frozen
from seqmodels.tasks.generation import Generation
from seqmodels.tasks.optim import OptimizerName, Schedule
from seqmodels.tasks.scoring import Scoring
from seqmodels.tasks.sequence_model import SequenceModel, check_fractions, check_weights


class AutoregressiveModel(SequenceModel, Generation, Scoring):
    """A `LanguageModel` without what training needs; see there."""

    recorded_as = "LanguageModel"

    identity = (
        "backbone",
        "tokenizer",
        "tie_embeddings",
        "head_bias",
        "logit_cap",
        "optimizer",
        "lr",
        "weight_decay",
        "beta2",
        "freeze",
    )
    command = "generate"

    def __init__(
        self,
        backbone: Backbone,
        tokenizer: Tokenizer,
        dropout: float = 0.0,
        input_dropout: float = 0.0,
        embedding_dropout: float = 0.0,
        activation_penalty: float = 0.0,
        temporal_penalty: float = 0.0,
        omega: float = 0.0,
        tie_embeddings: bool = False,
        head_bias: bool = True,
        logit_cap: float | None = None,
        sampled_softmax: int | None = None,
        optimizer: OptimizerName = "adamw",
        lr: float = 3e-3,
        weight_decay: float = 0.01,
        beta2: float = 0.99,
        warmup: float = 0.03,
        schedule: Schedule = "cosine",
        freeze: list[str] | None = None,
    ) -> None:
        super().__init__(tokenizer, optimizer, lr, weight_decay, beta2, warmup, schedule)
        check_fractions(dropout=dropout, input_dropout=input_dropout, embedding_dropout=embedding_dropout)
        check_weights(activation_penalty=activation_penalty, temporal_penalty=temporal_penalty, omega=omega)
        if not backbone.causal or backbone.memory_size is not None:
            raise InputError(
                f"a language model needs a causal network without a memory, and {type(backbone).__name__} "
                f"{'attends to a memory' if backbone.causal else 'reads a text as a whole'}; leave out "
                f"{'memory_size' if backbone.causal else 'causal=False'}, or take another network"
            )
        if omega and not isinstance(backbone, RecurrentStack):
            raise InputError(
                f"omega={omega} was given with {type(backbone).__name__}; it is for stacks of recurrent layers, whose "
                "gradients go back step by step; leave it out"
            )
        if omega and any(part.weight_dropout for part in backbone.modules() if isinstance(part, Cell)):
            raise InputError("omega goes through the recurrent weights as they are; leave out weight_dropout or omega")
        self.backbone, self.dropout = backbone, dropout
        self.input_dropout, self.embedding_dropout = input_dropout, embedding_dropout
        self.activation_penalty, self.temporal_penalty, self.omega = activation_penalty, temporal_penalty, omega
        ends: tuple[Any, Any] = backbone.ends(tokenizer.vocab_size)
        self.embedding, self.head = ends
        if logit_cap is not None:
            if not isinstance(ends[1], nn.Linear) or not 0 < logit_cap < math.inf:
                raise InputError(
                    f"logit_cap={logit_cap} was given with {type(backbone).__name__}; expected a positive number, for "
                    "a network with a softmax layer, or None for no bound"
                )
            self.head = CappedLinear(ends[1].in_features, ends[1].out_features, logit_cap)
        self.sampled_softmax = sampled_softmax
        if sampled_softmax is not None:
            if type(self.head) is not nn.Linear:
                kind = type(backbone).__name__ + ("" if logit_cap is None else f" and logit_cap={logit_cap}")
                raise InputError(
                    f"sampled_softmax={sampled_softmax} was given with {kind}; it is for networks with a softmax "
                    "layer, without logit_cap; leave it out"
                )
            if not 2 <= sampled_softmax < tokenizer.vocab_size:
                raise InputError(
                    f"sampled_softmax={sampled_softmax} was given; expected at least 2 and fewer than the "
                    f"{tokenizer.vocab_size:,} tokens of the vocabulary, or None for sums over all of them"
                )
        if isinstance(ends[1], nn.Linear):
            nn.init.zeros_(self.head.bias).requires_grad_(head_bias)
        else:
            self._check_plain(tie_embeddings)
        if tie_embeddings:
            if backbone.input_size != backbone.output_size:
                raise InputError(
                    f"tie_embeddings needs a network as wide at its input as at its output, got "
                    f"{backbone.input_size} and {backbone.output_size}"
                )
            nn.init.normal_(self.embedding.weight, std=backbone.output_size**-0.5)
            self.head.weight = self.embedding.weight
        self.frozen = frozen(self, freeze)
        if omega and not any(part.requires_grad for part in (*backbone.parameters(), self.embedding.weight)):
            raise InputError(f"omega={omega} was given, and embedding and network are frozen; leave out one of the two")

    def _check_plain(self, tie_embeddings: bool) -> None:
        """Refuse settings of embedding and softmax layer for a network that has neither."""
        names = ("dropout", "input_dropout", "embedding_dropout", "activation_penalty", "temporal_penalty")
        given = {"tie_embeddings": tie_embeddings} | {name: getattr(self, name) for name in names}
        if name := next((name for name, value in given.items() if value), None):
            raise InputError(
                f"{name}={given[name]} was given with {type(self.backbone).__name__}, which reads token ids and gives "
                "probabilities, with neither embedding nor softmax layer; leave it out"
            )

    @property
    def network(self) -> Backbone:
        """The network between embedding and softmax layer."""
        return self.backbone

    @property
    def learns(self) -> bool:
        """See `SequenceModel.learns`."""
        return self.backbone.learns

    @property
    def name(self) -> str:
        """The class of the network."""
        return type(self.backbone).__name__

    def forward(self, batch: Batch | Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Logits (B, T, V) of the token after each input, and the state after the last, from which a next call goes on.

        Args:
            batch: token ids, int64 (B, T), or a batch, of which inputs and mask are read.
            state: as an earlier call returned it for the same rows; None at the start.

        Raises:
            InputError: these are no ids of the vocabulary.
        """
        if not isinstance(batch, Batch):
            batch = Batch(self._checked(batch), batch)
        y, state = self.backbone(self._embedded(batch.inputs), state, mask=batch.mask)
        return self.head(variational_dropout(y, self.dropout, self.training)), state

    def _checked(self, ids: Tensor) -> Tensor:
        """Refuse what is no token ids, before an embedding fails on them, which on a GPU ends the process."""
        if not isinstance(ids, Tensor):
            raise InputError(f"the model was given a {type(ids).__name__}; expected token ids (B, T), or a Batch")
        if ids.ndim != 2 or ids.dtype not in (torch.int64, torch.int32) or 0 in ids.shape:
            given = f"a tensor {tuple(ids.shape)} of {str(ids.dtype).removeprefix('torch.')}"
            raise InputError(f"the model was given {given}; expected token ids (B, T), int64")
        least, most = int(ids.min()), int(ids.max())
        if least < 0 or most >= self.tokenizer.vocab_size:
            last = self.tokenizer.vocab_size - 1
            raise InputError(f"the model was given ids from {least} to {most}; expected ids from 0 to {last}")
        return ids

    def _embedded(self, tokens: Tensor) -> Tensor:
        """Embedded inputs, with dropout in training."""
        x = self.embedding(tokens)
        x = embedding_dropout(x, tokens, len(self.embedding.weight), self.embedding_dropout, self.training)
        return variational_dropout(x, self.input_dropout, self.training)

    def traced(self, batch: Batch, state: State | None = None) -> tuple[Tensor, State, Trace]:
        """`forward` without dropout, and the trace of the network."""
        y, state, trace = self.backbone.traced(self.embedding(batch.inputs), state, mask=batch.mask)
        return self.head(y), state, trace

    def step(self, tokens: Tensor, state: State | None) -> tuple[Tensor, State]:
        """One token per row, (B,), to logits of the next, (B, V), and the state: one step of a search."""
        y, state = self.backbone(self.embedding(tokens).unsqueeze(1), state)
        return self.head(y.squeeze(1)), state
