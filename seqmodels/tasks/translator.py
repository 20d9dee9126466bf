"""The translator: an encoder reads the source, a decoder writes the target with the source in view."""

from collections.abc import Sequence

import torch
from torch import Tensor

from seqmodels.batch import EOS, Batch
from seqmodels.data import SequenceDataModule, TranslationDataModule
from seqmodels.decoding import Beam
from seqmodels.errors import InputError
from seqmodels.metrics import TokenAccuracy, TranslationMetrics
from seqmodels.state import State
from seqmodels.tasks.base import SequenceTask
from seqmodels.tasks.batch_translation import Translation, hypotheses
from seqmodels.tasks.encoder_decoder_model import EncoderDecoderModel
from seqmodels.tasks.losses import Losses, scored, scored_logits
from seqmodels.tasks.regularizers import divergence

TRANSLATED = 500
"""Sentences, about, that a validation before the last one translates."""


def _sources(batch: Batch) -> list[list[int]]:
    """The token ids of each source of a batch, without padding and EOS."""
    assert batch.source is not None
    return [[i for i in row if i > EOS] for row in batch.source.tolist()]


class Translator(EncoderDecoderModel, SequenceTask):
    """An encoder that reads a source and a decoder that writes its translation, of any networks.

    Further arguments: see `SequenceTask`.

    Args:
        encoder: network over the source; its input size is that of the source embedding.
        decoder: causal network over the target; its input size is that of the target embedding. One that attends to a
            memory itself, a Transformer with `memory_size`, is used directly; any other gets the `attention`.
        tokenizer: tokenizer of the target.
        source_tokenizer: tokenizer of the source; None for a joint vocabulary.
        attention: attention of the decoder to the source: none, mean, additive, dot or general.
        input_feeding: feed the attended source into the next step (Luong et al. 2015).
        bridge: initial state of a recurrent decoder: linear, a linear map of the source's summary and a hyperbolic
            tangent; copy, the last state of an encoder of one direction (Sutskever et al. 2014).
        head_bias: train a bias of the softmax layer.
        search: settings of `Beam` that the model comes with.
        bidirectional: run a causal encoder from both ends.
        reverse: read the source from its end to its beginning (Sutskever et al. 2014).
        dropout: dropout probability of the outputs of encoder and decoder, one mask for all positions.
        input_dropout: dropout probability of embedded tokens, likewise.
        r_drop: weight of R-Drop, the divergence of two passes with different dropout (Liang et al. 2021).
        tie_embeddings: share matrices: none; target, target embedding and softmax layer; all, source embedding too.

    Raises:
        InputError: parts do not fit one another.
    """

    def make_metrics(self) -> None:
        super().make_metrics()
        self.accuracy = TokenAccuracy()
        self.translated = TranslationMetrics()

    def check(self, data: SequenceDataModule, prompt: str = "") -> None:
        """See `SequenceTask.check`: the data have to have sources."""
        if not isinstance(data, TranslationDataModule) or data.layout != "pair":
            raise InputError("a Translator learns from a TranslationDataModule with layout='pair'")
        super().check(data)
        if self.max_length is not None and self.max_length < data.max_length + 1:
            raise InputError(
                f"the positions of these networks end at {self.max_length}; give a max_length of less than that"
            )

    def predict_step(self, batch: Batch | Sequence[str] | str, batch_idx: int) -> list[tuple[str, Translation]]:
        """Each sentence of a batch, or of a list, or one, with its best translation by beam search; see `translate`.

        Batches of a data module come from the shortest sentences to the longest; a sentence reads as its tokens do.
        """
        if not isinstance(batch, Batch):
            texts = [batch] if isinstance(batch, str) else batch
            return [(text, best[0]) for text, best in zip(texts, self.translate(texts), strict=True)]
        sources = _sources(batch)
        found = hypotheses([self], sources, self.beam)
        best = [Translation(self.tokenizer.decode(one[0].tokens), *one[0][1:]) for one in found]
        return list(zip(map(self.source_tokenizer.decode, sources), best, strict=True))

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Add the batch to the sums, and its greedy translations to those of BLEU.

        Before the last validation, only every so many batches are translated, which have some hundred sentences.
        """
        self.accuracy.update(self.evaluated(batch), batch.targets)
        if batch_idx % self._translates_every:
            return
        if batch.references is None:
            raise InputError("this batch has no reference translations; validate on batches of a TranslationDataModule")
        found = [best[0].tokens if best else [] for best in hypotheses([self], _sources(batch), Beam(size=1))]
        self.translated.update([self.tokenizer.decode(ids) for ids in found], batch.references)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self.validation_step(batch, batch_idx)

    @property
    def _translates_every(self) -> int:
        """The distance between batches that are translated."""
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        on_the_way = self.trainer.state.fn == "fit" and self.run_fraction < 1
        if not (on_the_way and isinstance(data, TranslationDataModule)):
            return 1
        return -(-len(data.sentences("validation")[0]) // TRANSLATED)

    def on_validation_epoch_start(self) -> None:
        super().on_validation_epoch_start()
        self.accuracy.reset()
        self.translated.reset()
        data = getattr(self.trainer, "datamodule", None)
        if isinstance(data, TranslationDataModule):
            examples = [target for _, target in data.examples(data.splits[-1], 20)]
            self.translated.set_language(data.languages[1], examples)

    on_test_epoch_start = on_predict_epoch_start = on_validation_epoch_start

    def figures_of_evaluation(self) -> dict[str, Tensor]:
        """See there; token accuracy under teacher forcing; and BLEU."""
        accuracy = {"token_accuracy": self.accuracy.compute()}
        return super().figures_of_evaluation() | accuracy | self.translated.compute()

    def prepared(self, batch: Batch) -> Batch:
        """See `SequenceTask.prepared`: with R-Drop, every row twice."""
        return batch.mapped(lambda part: torch.cat([part, part])) if self.r_drop else batch

    def losses(self, batch: Batch, state: State | None) -> Losses:
        """See `SequenceTask.losses`: with R-Drop, the divergence of the two passes of a row."""
        y, state = self._read(batch, state)
        if not self.r_drop:
            return Losses(*scored(y, self.head, batch.targets, self.label_smoothing, self.compiled), 0.0, state)
        logits = self.head(y)
        penalty = self.r_drop * divergence(logits, batch.targets)
        return Losses(*scored_logits(logits, batch.targets, self.label_smoothing), penalty, state)
