"""A language model that translates: source and target as one text, `BOS source BOS target EOS`."""

import torch
from torch import Tensor, nn

from seqmodels.batch import BOS, EOS, PAD, Batch
from seqmodels.errors import InputError
from seqmodels.state import State
from seqmodels.tasks.autoregressive_model import AutoregressiveModel


class PrefixLM(nn.Module):
    """A language model trained with layout "joined", as a translator: see `batch_translation.Translates`.

    Its memory of a source is the state after it.

    Args:
        model: the language model.
    """

    def __init__(self, model: AutoregressiveModel) -> None:
        super().__init__()
        self.model = model
        self.tokenizer = self.source_tokenizer = model.tokenizer
        self.longest_target = model.longest_target
        self.max_length: int | None = None if model.backbone.max_length is None else model.backbone.max_length // 2

    @property
    def device(self) -> torch.device:
        return self.model.device

    def encode(self, source: Tensor, mask: Tensor | None = None) -> State:
        """The state after sources (B, S), each with EOS at its end, which is left out, and BOS put in front."""
        inputs = torch.cat([source.new_full((len(source), 1), BOS), source.masked_fill(source == EOS, PAD)], 1)[:, :-1]
        real = inputs != PAD
        state: State
        _, state = self.model(Batch(inputs, inputs, None if real.all() else real))
        return state

    def step(self, tokens: Tensor, state: State | None, memory: State) -> tuple[Tensor, State]:
        """See `Translator.step`; the first token is the BOS that stands between source and target."""
        return self.model.step(tokens, memory if state is None else state)

    def aligned_step(self, tokens: Tensor, state: State | None, memory: State) -> tuple[Tensor, State, Tensor]:
        """Refused by an InputError: the model attends to source and target alike."""
        raise InputError("a language model that translates has no attention to the source alone; leave it out")
