"""The language model: embedding, network, softmax layer over the next token."""

import math
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor

from seqmodels.batch import IGNORE, Batch
from seqmodels.data import SequenceDataModule, TextDataModule, TranslationDataModule
from seqmodels.errors import InputError
from seqmodels.nn.dropout import variational_dropout
from seqmodels.nn.unrolling import Unrolled, unroll
from seqmodels.state import State
from seqmodels.tasks.autoregressive_model import AutoregressiveModel
from seqmodels.tasks.base import SequenceTask
from seqmodels.tasks.losses import Losses, scored
from seqmodels.tasks.recompute import is_narrow, pieces, read_in_pieces
from seqmodels.tasks.regularizers import activation_penalty, gradient_change, temporal_penalty


class LanguageModel(AutoregressiveModel, SequenceTask):
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
        sampled_softmax: tokens over which the softmax layer sums in training, with a large vocabulary: half of them the
            first of the vocabulary, the others drawn in each step for all others (Jean et al. 2015), a tenth of the
            vocabulary, for instance. The loss in training is an estimate then; evaluations sum over all.
    """

    _counted: str | None = None  # hash of the text of its counts

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

    def losses(self, batch: Batch, state: State | None) -> Losses:
        """See `SequenceTask.losses`: with penalties on outputs, and on vanishing or exploding gradients."""
        parts = pieces(batch, self.recompute)
        if len(parts) == 1:
            return self._losses(batch, state)
        window = torch.ones_like(batch.inputs, dtype=torch.bool) if batch.mask is None else batch.mask

        def read(part: Batch, before: State | None) -> Losses:
            start, last = (state, ()) if before is None else cast(tuple[State, tuple[Tensor, ...]], before)
            return self._losses(part, start, last, window)

        found = read_in_pieces(read, parts, list(self.parameters()), is_narrow(self, batch))
        return found._replace(state=found.state[0])

    def _losses(
        self, batch: Batch, state: State | None, last: tuple[Tensor, ...] = (), window: Tensor | None = None
    ) -> Losses:
        """The losses of a window; or of a piece of one, whose mask is given, with the `last` output and mask before it.

        After a piece, the state is that of the network, and last output and mask where they are needed.
        """
        x = self._embedded(batch.inputs)
        layers: list[Unrolled] = []
        if self.omega:
            y, layers = unroll(self.backbone, x, state, batch.mask, fused=True)
            end: State = tuple(layer.states[-1] for layer in layers)
        else:
            y, end = self.backbone(x, state, mask=batch.mask)
        dropped = variational_dropout(y, self.dropout, self.training)
        objective, nats = scored(
            dropped, self.head, batch.targets, self.label_smoothing, self.compiled, self.sampled_softmax
        )
        penalty: Tensor | float = 0.0
        if self.activation_penalty:
            penalty = penalty + self.activation_penalty * activation_penalty(dropped, batch.mask, window)
        following: State = ()
        if self.temporal_penalty:
            mask = batch.mask
            if last:
                y = torch.cat([last[0], y], 1)
                mask = None if mask is None else torch.cat([last[1], mask], 1)
            penalty = penalty + self.temporal_penalty * temporal_penalty(y, mask, window)
            following = (y[:, -1:], *([] if mask is None else [mask[:, -1:]]))
        if self.omega:
            penalty = penalty + self.omega * gradient_change(objective, layers, batch.mask).sum()
        return Losses(objective, nats, penalty, end if window is None else (end, following))

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
