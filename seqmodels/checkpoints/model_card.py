"""The page about a shared model, with front matter in the vocabulary of the Hugging Face hub."""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from seqmodels.config import Call
from seqmodels.data.corpora import BUILT_IN
from seqmodels.errors import InputError
from seqmodels.files import read_json
from seqmodels.tasks.sequence_model import SequenceModel

METRICS = {"perplexity": "Perplexity", "bleu": "BLEU", "chrf": "chrF", "ter": "TER", "exact_match": "Exact match"}
"""The hub's names of metrics, which are ours in `result.json`, and those for people."""
UNKNOWN_LICENSE = "unknown"


def check_about(license: str | None, language: str | None) -> None:
    """Refuse (InputError) a licence or a language that is not spelled as on the hub."""
    if license is not None and not re.fullmatch(r"[a-z0-9][a-z0-9.-]*", license):
        raise InputError(
            f"license={license!r} was given; expected a name of the hub's, such as apache-2.0 or cc-by-4.0"
        )
    if language is not None and not _is_language(language):
        raise InputError(f"language={language!r} was given; expected a code of ISO 639, such as en, or code")


def card(
    task: SequenceModel,
    data: Call | None,
    run: Path,
    *,
    name: str,
    where: str,
    license: str | None = None,
    language: str | None = None,
) -> str:
    """The text of `README.md`: its front matter, then the model's kind, its figures and how to load it.

    Args:
        task: the model.
        data: the constructor call of its data.
        run: the run folder, with `result.json` and `env.json`; another path if there is none.
        name: of the model.
        where: what `load` is given.
        license: of the weights, as the hub names it.
        language: of the text; known of a translator.
    """
    translator = task.command == "translate"
    size = sum(parameter.numel() for parameter in task.parameters())
    result, arguments = _json(run / "result.json"), dict(data["init_args"]) if data else {}
    dataset = _hub_dataset(arguments, _json(run / "env.json"))
    results = list(_results(result, arguments, dataset, translator))
    matter = ModelCardData(
        language=language or _languages(arguments),
        license=license or UNKNOWN_LICENSE,
        library_name="seqmodels",
        pipeline_tag="translation" if translator else "text-generation",
        tags=list(dict.fromkeys(["seqmodels", "pytorch", *re.findall(r"[a-z0-9]+", task.name.lower())])),
        datasets=[dataset] if dataset else None,
        metrics=list(dict.fromkeys(one.metric_type for one in results)) or None,
        model_name=name,
        eval_results=results or None,
    ).to_yaml()
    kind = "translator" if translator else "language model"
    use = 'model.translate(["..."])' if translator else '"".join(model.generate("", max_tokens=100))'
    own = [] if task.constructor_call["class_path"].startswith("seqmodels.") else ["Its class is not of the package."]
    rows = [f"| {name} | {value:g} |" for name, value in result.items() if isinstance(value, int | float)]
    table = ["| Figure of its training | |", "|---|---|", *rows, ""] if rows else []
    about = "\n".join([*own, *table])
    return f"""---
{matter}
---

# {task.name}, a {kind}

A {kind} of the package seqmodels: {size:,} parameters, a vocabulary of {task.tokenizer.vocab_size:,}.

{about}
```python
from seqmodels import load

model = load("{where}")
print({use})
```

Nothing of these files is run when they are loaded: `model.safetensors` holds numbers, all else is JSON.
"""


def _json(path: Path) -> dict[str, Any]:
    return read_json(path) if path.is_file() else {}


def _is_language(text: str) -> bool:
    return bool(re.fullmatch(r"[a-z]{2,3}|code", text))


def _languages(arguments: Mapping[str, Any]) -> list[str] | None:
    """The languages of a translator, or of the built-in corpus; of others, nothing is known."""
    if arguments.get("data") == BUILT_IN and "source" not in arguments:
        return ["code"]
    both = (arguments.get("source"), arguments.get("target"))
    return [one for one in both if isinstance(one, str) and _is_language(one)] or None


def _hub_dataset(arguments: Mapping[str, Any], environment: Mapping[str, Any]) -> str | None:
    """The dataset on the hub that a model was trained on, if it was; names of files are not told."""
    corpus, given = environment.get("corpus"), arguments.get("data")
    origin = corpus.get("origin") if isinstance(corpus, dict) else None
    known = isinstance(origin, str) and isinstance(given, str) and origin.startswith(f"{given} from the hub")
    return given if known else None


def _results(
    result: Mapping[str, Any], arguments: Mapping[str, Any], dataset: str | None, translator: bool
) -> "list[EvalResult]":
    """The figures that the hub has names for: of the validation text, and of texts for `seqmodels test`."""
    task, kind = ("translation", "Translation") if translator else ("text-generation", "Text generation")
    built_in = "python-standard-library" if arguments.get("data") == BUILT_IN else "own-text"
    tests = result.get("tests")
    own = {key.removeprefix("val/"): value for key, value in result.items() if key.startswith("val/")}
    texts: list[tuple[str, Mapping[str, Any]]] = [("validation", own)]
    if isinstance(tests, dict):
        every = [scores for scores in tests.values() if isinstance(scores, dict)]
        texts += [("test" if len(every) == 1 else f"test {place}", scores) for place, scores in enumerate(every, 1)]
    return [
        EvalResult(
            task_type=task, task_name=kind, dataset_type=dataset or built_in,
            dataset_name=f"{dataset or 'text of the run'}, {split}", dataset_split=split,
            metric_type=metric, metric_name=METRICS[metric], metric_value=float(f"{scores[metric]:.6g}"),
        )
        for split, scores in texts
        for metric in METRICS
        if type(scores.get(metric)) in (int, float) and math.isfinite(scores[metric])
    ]  # fmt: skip
