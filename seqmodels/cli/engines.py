"""Engines in place of torch: converted models, kept in the cache."""

import hashlib
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from seqmodels.checkpoints.saved import located
from seqmodels.errors import InputError, NoCompilerError
from seqmodels.imports import VERSION
from seqmodels.interop.compiled.engine import CompiledEngine
from seqmodels.interop.ctranslate2 import convert
from seqmodels.interop.ctranslate2.engine import GeneratorEngine, TranslatorEngine
from seqmodels.interop.onnx.engine import OnnxEngine, write_engine
from seqmodels.interop.onnx.translator_engine import OnnxTranslator
from seqmodels.interop.onnx.writing import write_decoder
from seqmodels.interop.optional import optional
from seqmodels.nn.quantization import for_use
from seqmodels.tasks.autoregressive_model import AutoregressiveModel
from seqmodels.tasks.encoder_decoder_model import EncoderDecoderModel

Engine = Literal["torch", "onnx", "ctranslate2"]
TranslationEngine = Literal["torch", "onnx", "ctranslate2"]
LIBRARIES = {"onnx": "onnxruntime", "ctranslate2": "ctranslate2"}


def use(
    task: AutoregressiveModel, run: str, engine: Engine = "torch", *, bf16: bool = False, int8: bool = False,
    compile: bool = False,
) -> None:  # fmt: skip
    """Prepare a language model for generation, in place, by torch as `for_use` does, or by another engine.

    Args:
        task: the model.
        run: where it was loaded from.
        engine: what computes.
        bf16: bfloat16 weights, with torch.
        int8: 8-bit weights.
        compile: compile the steps of torch, unless there is no compiler, which is told.

    Raises:
        InputError: the engine is not installed, or cannot hold this model.
    """
    if compile:
        others = {f"--engine {engine}": engine != "torch", "--bf16": bf16, "--int8": int8}
        if given := next((flag for flag, is_given in others.items() if is_given), None):
            raise InputError(f"--compile and {given} were both given; leave out one of them")
        try:
            task.engine = CompiledEngine(task)
        except NoCompilerError as error:
            print(f"{error}; torch computes the steps one operation at a time", file=sys.stderr)
        return
    if engine == "torch":
        for_use(task, bf16=bf16, int8=int8)
        return
    if not task.learns:
        raise InputError(f"--engine {engine} was given, and {task.name} counts, which torch alone computes here")
    if bf16:
        raise InputError(f"--bf16 and --engine {engine} were both given; leave out one of them")
    optional(LIBRARIES[engine], engine, f"--engine {engine}")
    if engine == "onnx":
        path = converted(run, engine, lambda file: write_engine(task, file, int8=int8), "8" if int8 else "")
        task.engine = OnnxEngine(task, path)
    else:
        convert.check_form(task)
        task.engine = GeneratorEngine(task, _ctranslate2(task, run), int8=int8)


def translator_engine(
    task: EncoderDecoderModel, run: str, engine: TranslationEngine, int8: bool = False
) -> TranslatorEngine | OnnxTranslator:
    """Translation by another engine; errors as of `use`."""
    if engine == "onnx":
        optional(LIBRARIES[engine], engine, f"--engine {engine}")
        path = converted(run, engine, lambda file: write_decoder(task, file, int8=int8), "8" if int8 else "")
        return OnnxTranslator(task, path)
    optional("ctranslate2", "ctranslate2", "--engine ctranslate2")
    convert.check_form(task)
    return TranslatorEngine(task, _ctranslate2(task, run), int8=int8)


def _ctranslate2(task: AutoregressiveModel | EncoderDecoderModel, run: str) -> Path:
    def make(folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        convert.write(task, folder)

    return converted(run, "ctranslate2", make)


def converted(run: str, engine: str, make: Any, kind: str = "") -> Path:
    """The file or folder of a converted model, made by `make` once for each state of the files of a run."""
    from seqmodels.data.cache import cache_folder, once  # with `datasets`, which takes a second

    place = located(run)
    files = sorted(place.rglob("*.safetensors")) if place.is_dir() else [place]
    found = [f"{file.resolve()} {file.stat().st_size} {file.stat().st_mtime_ns}" for file in files]
    stamp = [VERSION, version(LIBRARIES[engine]), engine, kind, *found]
    key = f"engine-{hashlib.sha256(repr(stamp).encode()).hexdigest()[:24]}"
    ending = "onnx" if engine == "onnx" else "folder"

    def record(path: Path) -> dict[str, Any]:
        print(f"converting the model for {engine}, once: {path.parent}", file=sys.stderr)
        make(path.with_name(f"{key}.{ending}"))
        return {"engine": engine}

    path = cache_folder() / f"{key}.json"
    once(path, record)
    return path.with_name(f"{key}.{ending}")
