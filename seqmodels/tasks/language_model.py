"""The language model: embedding, network, softmax layer over the next token."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from seqmodels.batch import IGNORE, Batch
from seqmodels.data import SequenceDataModule, TextDataModule, Tokenizer, TranslationDataModule
from seqmodels.errors import InputError
from seqmodels.nn import Backbone, Cell, RecurrentStack, Trace
from seqmodels.nn.dropout import embedding_dropout, variational_dropout
from seqmodels.nn.unrolling import Unrolled, unroll
from seqmodels.state import State
from seqmodels.tasks.base import SequenceTask, check_fractions, check_weights
from seqmodels.tasks.freezing import frozen
from seqmodels.tasks.generation import Generation
from seqmodels.tasks.losses import CappedLinear, Losses, scored
from seqmodels.tasks.optim import OptimizerName, Schedule
from seqmodels.tasks.regularizers import activation_penalty, gradient_change, temporal_penalty
from seqmodels.tasks.scoring import Scoring


class LanguageModel(SequenceTask, Generation, Scoring):
    """Any network as a model of the next token. Further arguments: see `SequenceTask`.

    Args:
        backbone: the network; its input size is the size of the embedding.
        tokenizer: tokenizer of the text.
        dropout: dropout probability of the network's outputs, one mask for all positions of a row.
        input_dropout: dropout probability of the embedded inputs, likewise.
        embedding_dropout: dropout probability of whole tokens in the embedding.
        activation_penalty: weight of the mean square of the outputs in the loss (AR); 2 in AWD-LSTM.
        temporal_penalty: weight of the mean square of their change from step to step (TAR); 1 in AWD-LSTM.
        omega: weight of the regulariser of Pascanu et al. (2013) against vanishing gradients, for recurrent networks;
            training takes about twice as long.
        tie_embeddings: share one matrix between embedding and softmax layer; needs equal input and output sizes.
        head_bias: train a bias of the softmax layer; public families, such as GPT-2, have none.
        logit_cap: a soft bound of the logits, as in Gemma 2 and xLSTM 7B, `c tanh(x / c)`; None for none.
    """

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
        self._counted: str | None = None  # hash of the text
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
    def learns(self) -> bool:
        """See `SequenceTask.learns`."""
        return self.backbone.learns

    def count(self, data: SequenceDataModule) -> str:
        """See `SequenceTask.count`."""
        if self.backbone.learns:
            return ""
        if not isinstance(data, TextDataModule) or data.stream:
            kind = "a stream" if isinstance(data, TextDataModule) else f"a {type(data).__name__}"
            raise InputError(f"{self.name} counts a whole text, and was given {kind}; give it a text without --stream")
        if self.loaded_from is not None:
            raise InputError(
                f"{self.name} was loaded with the counts of a text, which are not trained further; count all text in "
                "one run"
            )
        if self._counted != (text := data.facts("train").sha256):
            self.backbone.count(data.tokens("train"))
            self._counted = text
        entries = getattr(self.backbone, "entries", 0)
        return f"counts   {entries:,} different n-grams"

    @property
    def network(self) -> Backbone:
        """The network between embedding and softmax layer."""
        return self.backbone

    @property
    def name(self) -> str:
        """The class of the network."""
        return type(self.backbone).__name__

    def check(self, data: SequenceDataModule, prompt: str = "") -> None:
        """See `SequenceTask.check`: the vocabulary must have the prompt, and the network the positions of a batch."""
        if isinstance(data, TranslationDataModule) and data.layout != "joined":
            raise InputError("a LanguageModel learns from a TranslationDataModule with layout='joined' only")
        super().check(data)
        self.check_prompt(prompt)
        longest = self.backbone.max_length
        if longest is None:
            return
        if isinstance(data, TranslationDataModule) and longest < 2 * data.max_length + 2:
            raise InputError(
                f"the positions of this network end at {longest}, and source and target in one row need "
                f"{2 * data.max_length + 2}; give a smaller max_length, or positions that do not end"
            )
        if data.length is not None and (data.carry or data.length > longest):
            raise InputError(
                f"the positions of this network end at {longest}; give --length of at most that, without --carry, or "
                "positions that do not end"
            )

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

    def losses(self, batch: Batch, state: State | None) -> Losses:
        """See `SequenceTask.losses`: with penalties on outputs, and on vanishing or exploding gradients."""
        x = self._embedded(batch.inputs)
        layers: list[Unrolled] = []
        if self.omega:
            y, layers = unroll(self.backbone, x, state, batch.mask, fused=True)
            state = tuple(layer.states[-1] for layer in layers)
        else:
            y, state = self.backbone(x, state, mask=batch.mask)
        dropped = variational_dropout(y, self.dropout, self.training)
        objective, nats = scored(dropped, self.head, batch.targets, self.label_smoothing, self.compiled)
        penalty: Tensor | float = 0.0
        if self.activation_penalty:
            penalty = penalty + self.activation_penalty * activation_penalty(dropped, batch.mask)
        if self.temporal_penalty:
            penalty = penalty + self.temporal_penalty * temporal_penalty(y, batch.mask)
        if self.omega:
            penalty = penalty + self.omega * gradient_change(objective, layers, batch.mask).sum()
        return Losses(objective, nats, penalty, state)

    def predict_step(self, batch: Batch | Sequence[str] | str, batch_idx: int) -> Any:
        """Log-probabilities of the targets of a batch in nats, (B, T), with NaN where a target is not scored; of a list
        of texts, or one, their scores, see `score`.
        """
        if not isinstance(batch, Batch):
            return self.score([batch] if isinstance(batch, str) else batch)
        logits, state = self(batch, self._carried_in_evaluation if batch.continues else None)
        self._carried_in_evaluation = state if batch.continued else None
        found = (logits if logits.dtype == torch.float64 else logits.float()).log_softmax(-1)
        targets, ignored = batch.targets, batch.targets == IGNORE
        return found.gather(2, targets.masked_fill(ignored, 0).unsqueeze(2)).squeeze(2).masked_fill(ignored, math.nan)

    def traced(self, batch: Batch, state: State | None = None) -> tuple[Tensor, State, Trace]:
        """`forward` without dropout, and the trace of the network."""
        y, state, trace = self.backbone.traced(self.embedding(batch.inputs), state, mask=batch.mask)
        return self.head(y), state, trace

    def step(self, tokens: Tensor, state: State | None) -> tuple[Tensor, State]:
        """One token per row, (B,), to logits of the next, (B, V), and the state: one step of a search."""
        y, state = self.backbone(self.embedding(tokens).unsqueeze(1), state)
        return self.head(y.squeeze(1)), state
