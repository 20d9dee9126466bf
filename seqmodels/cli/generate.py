"""What the subcommands do, as plain functions."""

import sys
from dataclasses import replace
from json import dumps as to_json

from seqmodels.cli.models import _language_model
from seqmodels.cli.text_io import parsed_bias, read_lines
from seqmodels.decoding import Sampling
from seqmodels.errors import InputError
from seqmodels.tasks.generation import token_bias
from seqmodels.tasks.inference import for_use


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
    bf16: bool = False,
    int8: bool = False,
    json: bool = False,
) -> None:
    """Write text with a trained model, as it is drawn.

    Args:
        run: a run folder, of which the best checkpoint is taken, or a checkpoint.
        prompt: text to continue; without it, the beginning of a document.
        prompts: a file with a prompt on each line, in place of --prompt; they are continued in batches.
        samples: how many texts to write for each prompt.
        max_tokens: how many tokens to write at most, 500 where not given; fewer where the model ends the document.
        temperature: below 1 more predictable, above 1 more surprising, 0 always the likeliest token.
        top_k: draw from the k likeliest tokens only.
        top_p: draw from the likeliest tokens that together have this probability.
        min_p: draw from tokens at least this share as likely as the likeliest.
        repetition_penalty: above 1, tokens that the text already has become less likely.
        logit_bias: numbers added to the logits of tokens, as JSON: '{"e": -100}' writes no e, and "<eos>" stands for
            the end of the document.
        stop: end the text before this string; may be given several times.
        seed: the same seed writes the same text.
        bf16: compute with weights of half precision, faster where the processor or GPU is made for it.
        int8: compute with weights of eight bits in large linear layers, on a processor.
        json: print a line of JSON for each text, with its prompt, its number among the samples, and what was written.
    """
    if prompts is not None and prompt:
        raise InputError("--prompt and --prompts were both given; expected one of them")
    bias = parsed_bias(logit_bias)
    sampling = Sampling(temperature, top_k, top_p, min_p, repetition_penalty)
    given = [prompt] if prompts is None else read_lines(prompts)
    task = _language_model(run)
    for_use(task, bf16=bf16, int8=int8)
    sampling = replace(sampling, logit_bias=token_bias(task.tokenizer, bias))
    if len(given) == samples == 1 and not json:
        sys.stdout.write(given[0])
        for piece in task.generate(given[0], max_tokens=max_tokens, sampling=sampling, seed=seed, stop=stop or ()):
            sys.stdout.write(piece)
            sys.stdout.flush()
        sys.stdout.write("\n")
        return
    written = task.continuations(given, samples, max_tokens, sampling, seed, stop or ())
    for place, (start, texts) in enumerate(zip(given, written, strict=True), 1):
        for number, text in enumerate(texts, 1):
            if json:
                print(to_json({"prompt": start, "sample": number, "text": text}, ensure_ascii=False))
            else:
                which = [f"prompt {place}"] * (len(given) > 1) + [f"sample {number}"] * (samples > 1)
                print(f"--- {', '.join(which)} ---\n{start}{text}")
        sys.stdout.flush()
