"""Exports a trained model in the forms that other programs read; each says what it cannot hold."""

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Literal, get_args

import torch

from seqmodels.data import Tokenizer
from seqmodels.errors import InputError
from seqmodels.files import local
from seqmodels.interop.ctranslate2 import convert
from seqmodels.interop.families.write import export_hf
from seqmodels.interop.onnx import writing as onnx_writing
from seqmodels.interop.plain_torch import writing as torch_writing
from seqmodels.interop.tokenizer_files import for_transformers
from seqmodels.interop.word_vectors import WordVectors
from seqmodels.tasks import LanguageModel, SequenceTask, Translator

Form = Literal["hf", "onnx", "ctranslate2", "torch", "word2vec"]

LOOP = """import numpy as np, onnxruntime
from safetensors.numpy import load_file
from tokenizers import Tokenizer

tokenizer = Tokenizer.from_file("tokenizer.json")
session = onnxruntime.InferenceSession("step.onnx")
state = load_file("state.safetensors")  # of one row, before the first token
ids = [1, *tokenizer.encode("def ").ids]  # 1 stands in front of every text, 2 ends it
for number in range(100):
    logits, *tensors = session.run(None, {"ids": np.array([ids[number]]), **state})
    state = dict(zip(state, tensors))
    if number + 1 == len(ids):
        logits[0, [0, 1, 3]] = -np.inf  # never written: padding, beginning, unknown
        ids.append(int(logits[0].argmax()))
print(tokenizer.decode(ids[1:]))
"""

ABOUT = {
    "hf": "A folder for transformers, whose AutoModelForCausalLM and AutoTokenizer load it. It holds models in the "
    "form of a public family alone, and nothing of their training.",
    "onnx": "Graphs of single steps, their state going in and coming out. They hold neither sampling nor beam search; "
    "rows of a call must have read equally many tokens, without padding.",
    "ctranslate2": "A model for `ctranslate2.Generator` or `ctranslate2.Translator`, whose tokens are named by their "
    "ids. It holds no tokenizer of its own, and computes what the model does {where}.",
    "torch": "Plain modules of torch and their weights, which need nothing of seqmodels. They hold no dropout, no "
    "optimizer and no search; texts are read without padding, sources of translators with padding behind their end. "
    "Recurrent layers that torch does not have are loops over the equation of one step: slow, and obviously right.",
    "word2vec": "The input embedding as word vectors, one line a token. It holds no network.",
}  # fmt: skip
"""What a form is, and what it cannot hold."""


def export(model: SequenceTask, folder: str | Path, to: Form = "onnx", *, int8: bool = False) -> Path:
    """Write a trained model into a new folder, in a form that other programs read, with a README that says how.

    Args:
        model: a language model or a translator, as `load` gives it.
        folder: a new one; nothing is overwritten, and a failure leaves nothing behind.
        to: hf, a folder of transformers, for language models in the form of a public family. onnx, graphs of a step,
            `(ids, state) -> (logits, state)`, and for Transformers of a window; of a translator the encoder and a step
            of the decoder. ctranslate2, for Transformers. torch, plain modules without this
            package, of every network that it comes with. word2vec, the input embedding as word vectors.
        int8: with onnx, weights of matrix products in 8 bits.

    Returns:
        The folder.

    Raises:
        InputError: the form cannot hold this model, a library is not installed, or the folder is there already.
    """
    if to not in get_args(Form):
        raise InputError(f"to={to!r} was given; choose one of {', '.join(get_args(Form))}")
    if not isinstance(model, LanguageModel | Translator):
        raise InputError(f"a {type(model).__name__} was given; expected a language model or a translator")
    if not model.learns:
        raise InputError(f"{model.name} counts, and other programs have no form for its counts; give it away by share")
    if int8 and to != "onnx":
        raise InputError(f"int8 was given with {to}; it is for onnx. CTranslate2 rounds weights when it loads them")
    target = local(folder)
    if target.exists() or target.is_symlink():
        raise InputError(f"{str(target)!r} is there already, and nothing is written over; give a new folder")
    model = model.eval()
    beside = Path()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        told = WRITERS[to](model, beside, int8)
        (beside / "README.md").write_text(_readme(target.name, to, model, told), encoding="utf-8")
        beside.chmod(0o777 & ~_umask())
        beside.rename(target)
    except OSError as error:
        raise InputError(f"cannot make {str(target)!r}: {error.strerror or error}; give another folder") from error
    finally:
        if beside != Path():
            shutil.rmtree(beside, ignore_errors=True)
    return target


def _umask() -> int:
    """The bits that new folders of this process do not have."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


Model = LanguageModel | Translator


def _hf(model: Model, folder: Path, int8: bool) -> list[str]:
    folder.rmdir()  # it makes its own
    return [f"This is {export_hf(model, folder)}."]


def _onnx(model: Model, folder: Path, int8: bool) -> list[str]:
    _check_precision(model)
    if isinstance(model, Translator):
        told = onnx_writing.write_translator(model, folder, int8=int8)
    else:
        told = onnx_writing.write_language_model(model, folder, int8=int8)
    _write_tokenizers(model, folder)
    return told


def _ctranslate2(model: Model, folder: Path, int8: bool) -> list[str]:
    convert.write(model, folder)
    _write_tokenizers(model, folder)
    return []


def _torch(model: Model, folder: Path, int8: bool) -> list[str]:
    torch_writing.write(model, folder)
    _write_tokenizers(model, folder)
    return []


def _word2vec(model: Model, folder: Path, int8: bool) -> list[str]:
    WordVectors.of(model).write(folder / "vectors.txt")
    return []


ENDLESS = 1 << 24
"""Contexts of so many positions are those of networks without a limit."""
WRITERS: dict[str, Callable[[Model, Path, bool], list[str]]] = {
    "hf": _hf, "onnx": _onnx, "ctranslate2": _ctranslate2, "torch": _torch, "word2vec": _word2vec,
}  # fmt: skip


def _check_precision(model: Model) -> None:
    """Refuse weights that are not in single precision on the CPU."""
    weight = model.embedding.weight
    if weight.dtype != torch.float32 or weight.device.type != "cpu":
        given = f"weights in {str(weight.dtype).removeprefix('torch.')} on {weight.device.type}"
        raise InputError(f"{given} were given; expected single precision on the CPU: model.float().cpu()")


def _write_tokenizers(model: Model, folder: Path) -> None:
    """`tokenizer.json`, and that of the source where it is another."""
    sides: dict[str, Tokenizer] = {"tokenizer": model.tokenizer}
    if isinstance(model, Translator) and model.source_tokenizer.json != model.tokenizer.json:
        sides["source_tokenizer"] = model.source_tokenizer
    for name, tokenizer in sides.items():
        (folder / f"{name}.json").write_text(for_transformers(tokenizer)["tokenizer.json"], encoding="utf-8")


def _readme(name: str, to: str, model: Model, told: list[str]) -> str:
    about = ABOUT[to]
    if to == "ctranslate2":
        networks = [model.backbone] if isinstance(model, LanguageModel) else [model.encoder, model.decoder]
        longest = min(convert.positions(network) for network in networks)  # type: ignore[arg-type]
        endless = longest >= ENDLESS
        about = about.format(where="at any length" if endless else f"up to {longest:,} positions only")
    files = {
        "hf": "`AutoModelForCausalLM.from_pretrained(folder)`, and `AutoTokenizer` likewise.",
        "onnx": "`step.onnx` (and `window.onnx`, several tokens at once, for Transformers); `state.safetensors`, the "
        "state of one row before the first token, by the names of the inputs. Output `next_X` is the next input `X`.",
        "ctranslate2": "Ids 0 to 3 are padding, beginning, end and unknown; prompts begin with 1, and sources end by "
        "themselves.",
        "torch": "`model.py` has the modules, `config.json` their sizes, `model.safetensors` their weights. This "
        "program, run in the folder, writes the likeliest text:",
        "word2vec": "`vectors.txt`, in the text format of word2vec, which gensim reads.",
    }[to]  # fmt: skip
    if to == "onnx" and isinstance(model, Translator):
        files = (
            "`encoder.onnx` gives the memory of a source (ids with 2 at the end, and a mask that is false at padding); "
            "`first.onnx` the first step, from token 1 and the memory, and `decoder.onnx` one from a token, memory and "
            "state. Output `next_X` is the next `X`."
        )
    text = f"# {name}\n\nA {type(model).__name__} of {model.name}, exported by seqmodels.\n\n{about}\n"
    text += "".join(f"\n{sentence}\n" for sentence in told) + f"\n{files}\n"
    if to == "onnx" and isinstance(model, LanguageModel):
        loop = (
            LOOP
            if model.tokenizer.starts
            else LOOP.replace("[1, *", "[*").replace("1 stands in front of every text, ", "")
        )
        text += f"\n```python\n{loop}```\n"
    return text + (f"\n```python\n{torch_writing.example(model)}```\n" if to == "torch" else "")
