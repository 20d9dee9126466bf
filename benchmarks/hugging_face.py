"""The same work in `transformers`: GPT-2 in its Trainer, and its `generate`."""

import contextlib
import io
import tempfile
import time
from typing import Any

import torch
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainerCallback, TrainingArguments
from transformers.utils import logging

from seqmodels.data.sampler import Batches

logging.set_verbosity_error()


def gpt2(vocab_size: int, size: int, layers: int, heads: int, context: int) -> GPT2LMHeadModel:
    """GPT-2 of a size, with random weights and without dropout.

    Args:
        vocab_size: number of tokens.
        size: features.
        layers: number of layers.
        heads: attention heads of a layer.
        context: maximal number of positions.
    """
    ends: dict[str, Any] = {"bos_token_id": 0, "eos_token_id": None, "pad_token_id": 0}
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=vocab_size, n_positions=context, n_embd=size, n_layer=layers, n_head=heads,
            resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, **ends,
        )
    )  # fmt: skip


def seconds_of_steps(model: GPT2LMHeadModel, batches: Batches, rows: int, steps: int, bf16: bool) -> list[float]:
    """Times at which the steps of its Trainer ended, in seconds.

    Args:
        model: the model to train.
        batches: the rows of the first epoch are the examples, repeated as needed.
        rows: rows of a batch.
        steps: number of steps.
        bf16: train in mixed precision.
    """
    examples = [
        {"input_ids": row, "labels": row}
        for number in range(min(steps, len(batches)))
        for row in batches[0, number].inputs
    ]
    ends: list[float] = []

    class Clock(TrainerCallback):
        def on_step_end(self, *args: Any, **more: Any) -> None:
            ends.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as folder:
        settings = TrainingArguments(
            folder, max_steps=steps, per_device_train_batch_size=rows, use_cpu=not torch.cuda.is_available(),
            bf16=bf16, report_to="none", save_strategy="no", logging_steps=10, max_grad_norm=1.0, disable_tqdm=True,
        )  # fmt: skip
        with contextlib.redirect_stdout(io.StringIO()):
            Trainer(model, settings, train_dataset=examples, callbacks=[Clock]).train()  # type: ignore[arg-type]
    return ends


@torch.inference_mode()
def written(model: GPT2LMHeadModel, tokens: Tensor, count: int, draw: bool = True, cache: str = "") -> Tensor:
    """Generate tokens with its cache of keys and values; returns (B, 1 + count).

    Args:
        model: the model that generates.
        tokens: int64 (B, 1), first tokens.
        count: number of tokens for each row.
        draw: sample; otherwise take the likeliest token.
        cache: name of its cache implementation; its default if empty.
    """
    mask = torch.ones_like(tokens)
    settings: dict[str, Any] = {"max_new_tokens": count, "min_new_tokens": count, "do_sample": draw}
    if cache:
        settings["cache_implementation"] = cache
    return model.generate(tokens, attention_mask=mask, top_k=None if draw else 50, **settings)  # type: ignore[no-any-return,operator]
