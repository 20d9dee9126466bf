"""Beam search against that of transformers, with a model of the same probabilities."""

import pytest
import torch
from decoding.test_beam_search import V, step_of, table
from torch import Tensor
from transformers import GenerationConfig, PretrainedConfig, PreTrainedModel
from transformers.generation import GenerationMixin
from transformers.modeling_outputs import CausalLMOutput

from seqmodels.batch import BOS, EOS, NEVER, PAD
from seqmodels.decoding import Beam, beam_search

SENTENCES, LONGEST = 16, 9


class Table(PreTrainedModel, GenerationMixin):
    """A language model whose first token, from V on, is the number of a sentence; its logits are those of a table."""

    config_class = PretrainedConfig
    main_input_name = "input_ids"

    def __init__(self, logits: Tensor) -> None:
        super().__init__(PretrainedConfig(vocab_size=V + len(logits)))
        self.logits, self.nothing = logits, torch.nn.Parameter(torch.zeros(1))

    def forward(self, input_ids: Tensor, **others: object) -> CausalLMOutput:
        """Logits of the next token."""
        sentences, read = input_ids[:, 0] - V, input_ids.shape[1] - 1
        last = input_ids[:, -1] if read else torch.full_like(sentences, BOS)
        found = torch.full((len(sentences), V + len(self.logits)), -torch.inf, dtype=self.logits.dtype)
        found[:, :V] = self.logits[sentences, min(read, 11), last]
        found[:, NEVER] = -torch.inf
        return CausalLMOutput(logits=found.unsqueeze(1))

    def prepare_inputs_for_generation(self, input_ids: Tensor, **others: object) -> dict[str, Tensor]:
        """All that was written: the model keeps no state."""
        return {"input_ids": input_ids}


@pytest.mark.parametrize("size", [2, 5])
@pytest.mark.parametrize("length_penalty", [0.0, 0.6, 1.0])
def test_the_same_translations_in_the_same_order(size: int, length_penalty: float) -> None:
    logits = table(SENTENCES, seed=1, sharpness=2.0)
    settings = GenerationConfig(
        num_beams=size, num_return_sequences=size, length_penalty=length_penalty, max_new_tokens=LONGEST,
        eos_token_id=EOS, pad_token_id=PAD, bos_token_id=BOS, use_cache=False, return_dict_in_generate=True,
        output_scores=True,
    )  # fmt: skip
    theirs = Table(logits).generate(torch.arange(V, V + SENTENCES).unsqueeze(1), generation_config=settings)
    beam = Beam(size, length_penalty, n_best=size)
    ours = [
        one
        for found in beam_search(step_of(logits), torch.arange(SENTENCES), [LONGEST] * SENTENCES, beam)
        for one in found
    ]
    assert [one.tokens for one in ours] == [[i for i in row[1:].tolist() if i > EOS] for row in theirs.sequences]
    scores = torch.tensor([one.score for one in ours])
    torch.testing.assert_close(scores, theirs.sequences_scores.float(), atol=1e-5, rtol=1e-5)
