"""The language model: embed, run the network, score the next token."""

import codecs
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from seqmodels.batch import BOS, EOS, PAD, UNK, Batch
from seqmodels.data.tokenizers import Tokenizer
from seqmodels.decoding import Sampling, stream
from seqmodels.errors import InputError
from seqmodels.nn import Backbone
from seqmodels.nn.dropout import embedding_dropout, variational_dropout
from seqmodels.optim import OptimizerName, Schedule
from seqmodels.state import State
from seqmodels.tasks.base import SequenceTask
from seqmodels.tasks.regularizers import activation_penalty, temporal_penalty


class LanguageModel(SequenceTask):
    """Any network as a model of the next token.

    Args:
        backbone: the network; its input size is the size of the embedding.
        tokenizer: what the token ids mean.
        dropout: share of the network's outputs dropped before the softmax layer while training, the same at every
            position of a row.
        input_dropout: share of the features of the embedded inputs dropped while training, likewise.
        embedding_dropout: share of the vocabulary whose embeddings are dropped while training.
        activation_penalty: weight of the mean square of the outputs in the loss; 2 in AWD-LSTM.
        temporal_penalty: weight of the mean square of their change from step to step; 1 in AWD-LSTM.
        tie_embeddings: one matrix for embedding and softmax; needs input and output sizes of the network alike.
        optimizer: adamw; muon for the matrices of the network and adamw for the rest; or plain sgd.
        lr: highest learning rate.
        weight_decay: of matrices; vectors do not decay.
        beta2: how slowly AdamW forgets squared gradients; beta1 is 0.9.
        warmup: share of the run during which the learning rate rises.
        schedule: what it does then: fall to zero as a cosine or linear, stay constant, or fall with the inverse-sqrt.
    """

    def __init__(
        self,
        backbone: Backbone,
        tokenizer: Tokenizer,
        dropout: float = 0.0,
        input_dropout: float = 0.0,
        embedding_dropout: float = 0.0,
        activation_penalty: float = 0.0,
        temporal_penalty: float = 0.0,
        tie_embeddings: bool = False,
        optimizer: OptimizerName = "adamw",
        lr: float = 3e-3,
        weight_decay: float = 0.01,
        beta2: float = 0.99,
        warmup: float = 0.03,
        schedule: Schedule = "cosine",
    ) -> None:
        super().__init__(tokenizer, optimizer, lr, weight_decay, beta2, warmup, schedule)
        shares = {"dropout": dropout, "input_dropout": input_dropout, "embedding_dropout": embedding_dropout}
        for name, share in shares.items():
            if not 0 <= share < 1:
                raise InputError(f"{name}={share} was given; expected a share in [0, 1)")
        if activation_penalty < 0 or temporal_penalty < 0:
            raise InputError(
                f"expected penalties of at least 0, got activation_penalty={activation_penalty} and "
                f"temporal_penalty={temporal_penalty}"
            )
        self.backbone, self.dropout = backbone, dropout
        self.input_dropout, self.embedding_dropout = input_dropout, embedding_dropout
        self.activation_penalty, self.temporal_penalty = activation_penalty, temporal_penalty
        self.embedding = nn.Embedding(tokenizer.vocab_size, backbone.input_size)
        self.head = nn.Linear(backbone.output_size, tokenizer.vocab_size)
        nn.init.zeros_(self.head.bias)
        if tie_embeddings:
            if backbone.input_size != backbone.output_size:
                raise InputError(
                    f"tie_embeddings needs a network as wide at its input as at its output, got "
                    f"{backbone.input_size} and {backbone.output_size}"
                )
            nn.init.normal_(self.embedding.weight, std=backbone.output_size**-0.5)
            self.head.weight = self.embedding.weight

    @property
    def network(self) -> Backbone:
        """The network between embedding and softmax layer."""
        return self.backbone

    def forward(self, batch: Batch, state: State | None = None) -> tuple[Tensor, State]:
        """Logits (B, T, V) of the token after each input, and the state after the last."""
        logits, state, _ = self.regularized(batch, state)
        return logits, state

    def regularized(self, batch: Batch, state: State | None) -> tuple[Tensor, State, Tensor | float]:
        """See `SequenceTask.regularized`: activation and temporal activation regularisation."""
        x = self.embedding(batch.inputs)
        x = embedding_dropout(x, batch.inputs, len(self.embedding.weight), self.embedding_dropout, self.training)
        x = variational_dropout(x, self.input_dropout, self.training)
        y, state = self.backbone(x, state, mask=batch.mask)
        dropped = variational_dropout(y, self.dropout, self.training)
        penalty: Tensor | float = 0.0
        if self.activation_penalty:
            penalty = penalty + self.activation_penalty * activation_penalty(dropped, batch.mask)
        if self.temporal_penalty:
            penalty = penalty + self.temporal_penalty * temporal_penalty(y, batch.mask)
        return self.head(dropped), state, penalty

    def step(self, tokens: Tensor, state: State | None) -> tuple[Tensor, State]:
        """One token a row, (B,), to logits of the next, (B, V), and the state: what decoding runs on."""
        y, state = self.backbone(self.embedding(tokens).unsqueeze(1), state)
        return self.head(y.squeeze(1)), state

    def generate(
        self,
        prompt: str = "",
        *,
        max_tokens: int | None = None,
        sampling: Sampling = Sampling(),  # noqa: B008 - immutable
        seed: int | None = None,
    ) -> Iterator[str]:
        """Continue a prompt, or begin a text, piece by piece as it is drawn.

        Args:
            prompt: text to continue; it is not repeated.
            max_tokens: how many tokens to draw at most; fewer where the end of a document is drawn. Where not given,
                500, or as many as the network has positions for.
            sampling: temperature, top-k, top-p.
            seed: draw the same text again; None for another each time.

        Yields:
            Text; joined, it is the continuation. Until the last piece, the model is in evaluation mode.

        Raises:
            InputError: the prompt has a character outside the vocabulary, or the text would outgrow what the
                network can read.
        """
        self.check_prompt(prompt)
        ids = [BOS, *self.tokenizer.encode(prompt)]
        limit = self.backbone.max_length
        if max_tokens is None:
            max_tokens = 500 if limit is None else max(0, min(500, limit - len(ids)))
        if limit is not None and len(ids) + max_tokens > limit:
            raise InputError(
                f"{len(ids)} tokens of prompt and {max_tokens} more exceed the {limit} positions of this network; "
                f"ask for at most max_tokens={max(0, limit - len(ids))}"
            )
        return self._generate(ids, max_tokens, sampling, seed)

    def check_prompt(self, prompt: str) -> None:
        """Refuse a prompt that the vocabulary cannot write.

        Raises:
            InputError: it has a character that no token stands for.
        """
        if unknown := self.tokenizer.unknown(prompt):
            raise InputError(
                f"the prompt has {unknown!r}, which the vocabulary of {self.tokenizer.vocab_size} tokens lacks; "
                "leave it out, or train with bytes or bpe"
            )

    @torch.inference_mode()  # as a decorator it is left at every yield, and entered again after it
    def _generate(self, ids: list[int], max_tokens: int, sampling: Sampling, seed: int | None) -> Iterator[str]:
        device = self.embedding.weight.device
        generator = torch.Generator(device)
        if seed is None:
            generator.seed()
        else:
            generator.manual_seed(seed)
        never = torch.tensor([PAD, BOS, UNK], device=device)

        def step(tokens: Tensor, state: State | None) -> tuple[Tensor, State]:
            logits, state = self.step(tokens, state)
            return logits.index_fill(-1, never, -torch.inf), state

        training = self.training
        self.eval()
        try:
            state = None
            if len(ids) > 1:
                prefix = torch.tensor([ids[:-1]], device=device)
                for first in range(0, prefix.shape[1], 512):
                    _, state = self.backbone(self.embedding(prefix[:, first : first + 512]), state)
            # What was read so far is the state; the last token of the prompt is the first to step on from.
            tokens = stream(step, torch.tensor(ids[-1:], device=device), state, sampling, max_tokens, generator)
            decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
            for (token,) in tokens:
                if token == EOS:
                    break
                if text := decoder.decode(self.tokenizer.token_bytes[token]):
                    yield text
            if text := decoder.decode(b"", final=True):
                yield text
        finally:
            self.train(training)
