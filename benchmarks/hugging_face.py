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
    """GPT-2 of a size, with random weights and without dropout; arguments as of `PlainGPT`."""
    more: dict[str, Any] = {"bos_token_id": 0, "eos_token_id": None, "pad_token_id": 0}
    more |= dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0)
    config = GPT2Config(
        vocab_size=vocab_size, n_positions=context, n_embd=size, n_layer=layers, n_head=heads, **more
    )  # fmt: skip
    return GPT2LMHeadModel(config)


def seconds_of_steps(model: GPT2LMHeadModel, batches: Batches, rows: int, steps: int, bf16: bool) -> list[float]:
    """Times at which the steps of its Trainer ended, in seconds.

    The rows of the first epoch are the examples, repeated as needed; `rows` are those of a batch.
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
    """Generate `count` tokens after the first ones, (B, 1), with its cache of keys and values, by name or default.

    Returns (B, 1 + count), drawn, or the likeliest.
    """
    mask = torch.ones_like(tokens)
    settings: dict[str, Any] = {"max_new_tokens": count, "min_new_tokens": count, "do_sample": draw}
    if cache:
        settings["cache_implementation"] = cache
    return model.generate(tokens, attention_mask=mask, top_k=None if draw else 50, **settings)  # type: ignore[no-any-return,operator]
