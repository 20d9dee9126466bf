"""Seconds and memory of loading a model of 124 million parameters.

A folder of GPT-2's form with random weights, model and tokenizer, beside `from_pretrained` of `transformers`; and the
same model as this package shares it, beside a plain network with its weights by `torch.load` and `load_state_dict`. The
system has the files in memory already. Each load is in a fresh process, after its libraries are imported. Files may be
mapped, so a load ends when each weight has been read once; all hold single precision.
"""

import json
import re
import tempfile
import time
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

import tokenizers
import torch
from tokenizers import decoders, models, pre_tokenizers
from torch import Tensor

from benchmarks.measure import Comparison, Side, compare
from benchmarks.peak import in_fresh_processes
from benchmarks.plain import PlainGPT
from benchmarks.sampling import GPT2

VOCABULARY = 50_257
END = "<|endoftext|>"


def run(*, rounds: int = 5, small: bool = False) -> Iterator[Comparison]:
    """All comparisons of this topic; see `Topic`."""
    vocabulary, shape = (600, (16, 2, 2, 32)) if small else (VOCABULARY, GPT2)
    with tempfile.TemporaryDirectory() as name:
        theirs, shared, plain = (str(Path(name, part)) for part in ("transformers", "shared", "plain.pt"))
        weights = write(Path(theirs), vocabulary, shape)
        write_checkpoints(theirs, shared, plain, vocabulary, shape)
        size, mebibytes = f"{weights / 1e6:.0f} M weights", 4 * weights / 2**20
        for kind, our_folder, other, fastest, least in (
            ("a folder of transformers", theirs, partial(rival, theirs), "ratio <= 1", 1.2),
            ("a checkpoint", shared, partial(by_hand, plain, vocabulary, shape), "ratio <= 0.3", 1.1),
        ):
            for unit, what, target, most in (
                ("s", "seconds", fastest, rounds),
                ("MiB", "peak memory over that of libraries", f"at most {least * mebibytes:,.0f}", 1),
            ):
                sides: list[Side] = [partial(ours, our_folder, unit), partial(other, unit)]
                yield compare(
                    f"Load {kind}, {size}, {what}", *sides, unit=unit, rounds=most, warm_up=False, target=target,
                    run=in_fresh_processes,
                )  # fmt: skip


def write(folder: Path, vocabulary: int, shape: tuple[int, int, int, int]) -> int:
    """Write a model and a byte-level BPE of pairs of letters; returns the number of weights."""
    from benchmarks import hugging_face

    folder.mkdir()
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [(a, b) for a in letters for b in letters][: vocabulary - len(letters) - 1]
    tokens = [END, *letters, *(a + b for a, b in merges)]
    made = tokenizers.Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(tokens)}, merges=merges))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([END])
    made.save(str(folder / "tokenizer.json"))
    names = {"bos_token": END, "eos_token": END, "tokenizer_class": "PreTrainedTokenizerFast"}
    (folder / "tokenizer_config.json").write_text(json.dumps(names))
    model = hugging_face.gpt2(len(tokens), *shape)
    model.generation_config.eos_token_id = 0
    model.save_pretrained(folder)
    return sum(parameter.numel() for parameter in model.parameters())


def write_checkpoints(folder: str, shared: str, plain: str, vocabulary: int, shape: tuple[int, int, int, int]) -> None:
    """Write the model of a folder of transformers as this package shares it, and a plain one as `torch.save` does."""
    from seqmodels import load, share

    share(load(folder), shared)
    torch.save(PlainGPT(vocabulary, *shape).state_dict(), plain)


def ours(folder: str, unit: str) -> float:
    """Load by this package."""
    from seqmodels import load

    before, began = memory("VmRSS"), time.perf_counter()
    model = load(folder)
    return figure(unit, before, began, model.parameters())


def rival(folder: str, unit: str) -> float:
    """Load by transformers."""
    from transformers import AutoModelForCausalLM, AutoTokenizer, GPT2LMHeadModel, PreTrainedTokenizerFast

    assert GPT2LMHeadModel is not None  # imported when it is named
    assert PreTrainedTokenizerFast is not None
    before, began = memory("VmRSS"), time.perf_counter()
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    assert tokenizer is not None
    return figure(unit, before, began, model.parameters())


def by_hand(file: str, vocabulary: int, shape: tuple[int, int, int, int], unit: str) -> float:
    """Load as tutorials do: make the network, then take the weights of a file."""
    before, began = memory("VmRSS"), time.perf_counter()
    model = PlainGPT(vocabulary, *shape)
    model.load_state_dict(torch.load(file, weights_only=True))
    return figure(unit, before, began, model.parameters())


def figure(unit: str, before: float, began: float, weights: Iterable[Tensor]) -> float:
    """Seconds since the beginning, or MiB by which memory has grown at most, once all weights are read."""
    for weight in weights:
        assert weight.dtype == torch.float32
        weight.detach().sum()
    return time.perf_counter() - began if unit == "s" else memory("VmHWM") - before


def memory(name: str) -> float:
    """A figure of this process, in MiB."""
    found = re.search(rf"{name}:\s*(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) / 1024
