"""The command `generate`."""

import sys
from dataclasses import replace

from seqmodels.checkpoints.saved import load_model
from seqmodels.cli.engines import Engine, use
from seqmodels.cli.mixing import mix_of
from seqmodels.cli.text_io import parsed_bias, read_lines
from seqmodels.decoding import Sampling
from seqmodels.errors import InputError
from seqmodels.files import to_json
from seqmodels.tasks.autoregressive_model import AutoregressiveModel
from seqmodels.tasks.generation import token_bias
from seqmodels.tasks.mixing import mixed
from seqmodels.tasks.workers import Workers


def generate(
    run: str,
    prompt: str = "",
    prompts: str | None = None,
    samples: int = 1,
    max_tokens: int | None = None,
    temperature: float = 0.8,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    repetition_penalty: float = 1.0,
    logit_bias: str | None = None,
    stop: list[str] | None = None,
    seed: int | None = None,
    counts: str | None = None,
    counts_weight: float | None = None,
    cache: int | None = None,
    cache_weight: float | None = None,
    cache_sharpness: float | None = None,
    bf16: bool = False,
    int8: bool = False,
    engine: Engine = "torch",
    workers: int | None = None,
    compile: bool = False,
    json: bool = False,
) -> None:
    """Generate text with a trained model, token by token.

    Args:
        run: a run folder, whose best checkpoint is used, or a checkpoint.
        prompt: text to continue; by default the beginning of a document.
        prompts: a file with a prompt on each line, instead of --prompt; they are continued in batches.
        samples: number of texts for each prompt.
        max_tokens: maximum number of tokens (default: 500); fewer if the model ends the document.
        temperature: divides the logits; 0 for greedy decoding.
        top_k: sample from the k most probable tokens only.
        top_p: sample from the most probable tokens whose probabilities add up to this.
        min_p: sample from tokens at least this fraction as probable as the most probable one.
        repetition_penalty: above 1, tokens that the text already has become less probable.
        logit_bias: JSON of tokens and numbers added to their logits: '{"e": -100}' excludes e; "<eos>" is the end of
            the document.
        stop: end the text before this string; may be given several times.
        seed: random seed.
        counts: run of an NGram with the same vocabulary, whose probabilities are mixed with those of the model.
        counts_weight: their share (default: 0.2).
        cache: positions of a neural cache (Grave et al. 2017), which predicts what followed similar positions.
        cache_weight: its share (default: 0.1).
        cache_sharpness: how much more similar positions count (default: 0.3).
        bf16: weights in bfloat16, faster on hardware that supports it.
        int8: weights of large linear layers in 8 bits, on a CPU.
        engine: what computes: torch, onnx (onnxruntime, on the CPU) or ctranslate2 (Transformers; with a temperature
            above 0 it draws other random texts); the model is converted once.
        workers: processes, each with a batch of 64 texts on a core of its own; 1 for one batch by all threads. By
            default what is faster, which the first of at least six batches tell.
        compile: compile the steps of Transformers, multiplicative networks, GatedDeltaNet, Mamba2 and the like, on a
            CPU: half a minute to two the first time, then kept for all models of the same form; then a Transformer of
            128 features writes several times as fast. LSTM, GRU and RNN gain nothing.
        json: print a line of JSON for each text, with its prompt and its number among the samples.
    """
    if prompts is not None and prompt:
        raise InputError("--prompt and --prompts were both given; expected one of them")
    bias = parsed_bias(logit_bias)
    sampling = Sampling(temperature, top_k, top_p, min_p, repetition_penalty)
    mix = mix_of(counts, cache, counts_weight=counts_weight, cache_weight=cache_weight, cache_sharpness=cache_sharpness)
    if mix is not None and (bf16 or int8 or engine != "torch" or compile):
        raise InputError(
            "--counts and --cache are computed by torch in full precision, step by step; leave out the other engine"
        )
    if workers is not None and (engine != "torch" or compile):
        other = "--compile" if compile else f"--engine {engine}"
        raise InputError(f"--workers and {other} were both given; leave out one of them")
    given = [prompt] if prompts is None else read_lines(prompts)
    task = load_language_model(run)
    by = Workers(workers if engine == "torch" and not compile else 1, task.embedding.weight.device)
    if mix is not None:
        task = mixed(task, mix)
    use(task, run, engine, bf16=bf16, int8=int8, compile=compile)
    sampling = replace(sampling, logit_bias=token_bias(task.tokenizer, bias))
    if len(given) == samples == 1 and not json:
        pieces = task.generate(given[0], max_tokens=max_tokens, sampling=sampling, seed=seed, stop=stop or ())
        sys.stdout.write(given[0] + next(pieces, ""))  # an error comes before anything is written
        for piece in pieces:
            sys.stdout.write(piece)
            sys.stdout.flush()
        sys.stdout.write("\n")
        return
    written = task.continuations(given, samples, max_tokens, sampling, seed, stop or (), by)
    for place, (start, texts) in enumerate(zip(given, written, strict=True), 1):
        for number, text in enumerate(texts, 1):
            if json:
                print(to_json({"prompt": start, "sample": number, "text": text}))
            else:
                which = [f"prompt {place}"] * (len(given) > 1) + [f"sample {number}"] * (samples > 1)
                print(f"--- {', '.join(which)} ---\n{start}{text}")
        sys.stdout.flush()


def load_language_model(run: str) -> AutoregressiveModel:
    """A trained language model; an InputError for another task."""
    task = load_model(run).task
    if not isinstance(task, AutoregressiveModel):
        raise InputError(f"{run!r} is a {task.kind}, not a language model; use seqmodels {task.command}")
    return task
