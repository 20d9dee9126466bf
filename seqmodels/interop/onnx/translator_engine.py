"""Steps of a translator's decoder run by onnxruntime: torch reads the source and takes the first step."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from seqmodels.decoding import Beam, Draws
from seqmodels.environment import threads
from seqmodels.interop.onnx.graphs import flattened, nested
from seqmodels.interop.optional import optional
from seqmodels.state import State, first_tensor, repeat
from seqmodels.tasks.batch_translation import Translation, translations
from seqmodels.tasks.encoder_decoder_model import EncoderDecoderModel


class OnnxTranslator(nn.Module):
    """A translator whose decoder is the graph that `writing.write_decoder` wrote, on the CPU: it translates as
    `batch_translation.Translates`, with every search of this package.

    Args:
        model: on the CPU, in single precision.
        path: of the graph.

    Raises:
        InputError: onnxruntime is not installed.
    """

    def __init__(self, model: EncoderDecoderModel, path: Path) -> None:
        super().__init__()
        runtime = optional("onnxruntime", "onnx", "--engine onnx")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        self.model = model
        self._session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self._names = [one.name for one in self._session.get_inputs()]
        self._given: tuple[State, int, list[Any]] | None = None
        self.tokenizer, self.source_tokenizer = model.tokenizer, model.source_tokenizer
        self.longest_target = model.longest_target

    @property
    def max_length(self) -> int | None:
        """See `Translator.max_length`."""
        return self.model.max_length

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.model.device

    def encode(self, source: Tensor, mask: Tensor | None = None) -> State:
        """See `Translator.encode`."""
        return self.model.encode(source, mask)

    def step(self, tokens: Tensor, state: State | None, memory: State) -> tuple[Tensor, State]:
        """See `Translator.step`."""
        if state is None:
            return self.model.step(tokens, None, memory)
        given = [tokens.numpy(), *self._arrays(memory, len(tokens)), *(one.numpy() for one in flattened(state))]
        logits, *following = self._session.run(None, dict(zip(self._names, given, strict=True)))
        return torch.from_numpy(logits), nested([torch.from_numpy(one) for one in following], state)

    def aligned_step(self, tokens: Tensor, state: State | None, memory: State) -> tuple[Tensor, State, Tensor]:
        """See `Translator.aligned_step`: by torch, as the graph does not give the attention."""
        return self.model.aligned_step(tokens, state, memory)

    def translations(self, texts: Sequence[str], how: Beam | Draws, first_number: int = 0) -> list[list[Translation]]:
        """See `batch_translation.translations`."""
        # Between the steps, threads of torch would wait for more on the cores that onnxruntime needs.
        with threads(1):
            return translations([self], texts, how, first_number)

    def _arrays(self, memory: State, rows: int) -> list[Any]:
        """The memory with as many rows as there are tokens; made once as long as it stays the same."""
        if self._given is None or self._given[0] is not memory or self._given[1] != rows:
            several = repeat(memory, rows // len(first_tensor(memory)))
            self._given = memory, rows, [one.contiguous().numpy() for one in flattened(several)]
        return self._given[2]
