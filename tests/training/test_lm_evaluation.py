"""lm-evaluation-harness asks a model, on tasks of local files."""

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from seqmodels import LSTM, LanguageModel, Sampling, Tokenizer, Transformer
from seqmodels.errors import InputError

pytest.importorskip("lm_eval", reason="lm-evaluation-harness is not installed")

from lm_eval import simple_evaluate
from lm_eval.tasks import TaskManager

from seqmodels.training.lm_evaluation import HarnessModel

TEXT = "the cat sat on the mat , and the dog @-@ like fox ran to the hut .\n = The fox = \n"
TASKS = {
    "pages": """
        output_type: loglikelihood_rolling
        doc_to_text: ""
        doc_to_target: !function pages.wikitext_detokenizer
        process_results: !function pages.process_results
        metric_list: [{metric: word_perplexity}, {metric: byte_perplexity}, {metric: bits_per_byte}]
    """,
    "choices": """
        output_type: multiple_choice
        doc_to_text: "{{question}}"
        doc_to_choice: ["the cat", "on"]
        doc_to_target: 0
        metric_list: [{metric: acc}]
    """,
    "answers": """
        output_type: generate_until
        doc_to_text: "{{question}}"
        doc_to_target: "{{page}}"
        generation_kwargs: {until: ["a"], max_gen_toks: 7}
        metric_list: [{metric: exact_match}]
    """,
}


@pytest.fixture
def tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TaskManager:
    """Tasks over two local documents."""
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    documents = [{"page": TEXT * 3, "question": "the cat "}, {"page": TEXT, "question": "on the mat"}]
    data = tmp_path / "documents.jsonl"
    data.write_text("".join(json.dumps(one) + "\n" for one in documents))
    (tmp_path / "pages.py").write_text("from lm_eval.tasks.wikitext.preprocess_wikitext import *\n")
    for name, lines in TASKS.items():
        head = f"task: {name}\ndataset_path: json\ndataset_kwargs: {{data_files: {{test: {data}}}}}\ntest_split: test\n"
        (tmp_path / f"{name}.yaml").write_text(head + "\n".join(line.strip() for line in lines.splitlines()))
    return TaskManager(include_path=str(tmp_path), include_defaults=False)


def language_model(network: Any) -> LanguageModel:
    torch.manual_seed(0)
    return LanguageModel(network, Tokenizer.char([TEXT])).eval()


def results(model: LanguageModel, tasks: TaskManager, names: list[str], **settings: Any) -> dict[str, Any]:
    found = simple_evaluate(
        HarnessModel(model, device="cpu", **settings), tasks=names, task_manager=tasks, bootstrap_iters=0
    )
    assert found is not None
    return found


def test_pages_are_counted_as_everywhere(tasks: TaskManager) -> None:
    """Words and bytes of the page as it is, nats of the page without marks of tokenization, by the model itself."""
    from lm_eval.tasks.wikitext.preprocess_wikitext import wikitext_detokenizer

    model = language_model(LSTM(8, 16))
    found = results(model, tasks, ["pages"])["results"]["pages"]
    pages = [TEXT * 3, TEXT]
    nats = sum(score.nats for score in model.score([wikitext_detokenizer({"page": page}) for page in pages]))
    words, size = sum(len(re.split(r"\s+", page)) for page in pages), sum(len(page.encode()) for page in pages)
    assert found["word_perplexity,none"] == pytest.approx(math.exp(nats / words), rel=1e-6)
    assert found["byte_perplexity,none"] == pytest.approx(math.exp(nats / size), rel=1e-6)
    assert found["bits_per_byte,none"] == pytest.approx(nats / size / math.log(2), rel=1e-6)


@pytest.mark.parametrize("length", [5, None])
def test_long_texts_are_read_in_windows(tasks: TaskManager, length: int | None) -> None:
    """Each window scores its own tokens, the last one behind as many as fit; learned positions bound them."""
    model = language_model(Transformer(8, 1, 2, context=16, positions="learned"))
    harness = HarnessModel(model, max_length=length)
    ids, size = model.tokenizer.encode(TEXT), length or 16
    request = type("Request", (), {"args": (TEXT,)})
    expected = 0.0
    with torch.inference_mode():
        for first in range(0, len(ids), size):
            wanted = torch.tensor(ids[first : first + size])
            end = first + len(wanted)  # the last window begins earlier: it is full, too
            read = [harness.prefix_token_id, *ids[: size - 1]] if first == 0 else ids[end - size - 1 : end - 1]
            logits = model(torch.tensor([read]))[0][0, -len(wanted) :].double().log_softmax(-1)
            expected += float(logits[range(len(wanted)), wanted].sum())
    assert harness.loglikelihood_rolling([request])[0] == pytest.approx(expected, rel=1e-6)


def test_choices_and_answers(tasks: TaskManager) -> None:
    """The likelier answer is chosen, and greedy text is that of `generate`."""
    model = language_model(LSTM(8, 16))
    found = results(model, tasks, ["choices", "answers"])
    questions = ["the cat ", "on the mat"]
    sampled = {sample["doc"]["question"]: sample["resps"][0][0] for sample in found["samples"]["answers"]}
    for question in questions:
        text = "".join(model.generate(question, max_tokens=7, sampling=Sampling(temperature=0.0), stop=["a"]))
        assert sampled[question] == text
    assert found["results"]["choices"]["acc,none"] in (0.0, 0.5, 1.0)
    scores = {sample["doc"]["question"]: sample["filtered_resps"] for sample in found["samples"]["choices"]}
    before = model.score(["the cat"])[0].nats
    for (log_likelihood, _), choice in zip(scores["the cat "], (" the cat", " on"), strict=True):
        assert -log_likelihood == pytest.approx(model.score(["the cat " + choice])[0].nats - before, rel=1e-5)


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_a_public_model_has_the_figures_of_transformers(name: str, tasks: TaskManager, tmp_path: Path) -> None:
    """The harness asks both, in windows of the positions, behind the tokens that each family puts first."""
    from interop.families.models import written

    written(name, tmp_path / name)
    names, found = ["pages", "choices", "answers"], []
    theirs = {"pretrained": str(tmp_path / name), "dtype": "float32", "max_length": 24}
    for model, settings in (("hf", theirs), ("seqmodels", {"run": str(tmp_path / name), "max_length": 24})):
        evaluated = simple_evaluate(
            model, settings, tasks=names, task_manager=tasks, bootstrap_iters=0, device="cpu", batch_size=1
        )
        assert evaluated is not None
        answers = [sample["resps"][0][0] for sample in evaluated["samples"]["answers"]]
        figures = {
            task: {k: v for k, v in of.items() if isinstance(v, float)} for task, of in evaluated["results"].items()
        }
        found.append((figures, answers))
    assert found[0][1] == found[1][1]
    for task in names:
        assert found[1][0][task] == pytest.approx(found[0][0][task], rel=1e-4)


def test_greedy_is_told_and_long_contexts_lose_their_beginning() -> None:
    """Of what is longer than the positions the end is kept."""
    model = language_model(Transformer(8, 1, 2, context=4, positions="learned"))
    harness = HarnessModel(model)
    ids = model.tokenizer.encode("the cat sat")
    with torch.inference_mode():
        logits = model(torch.tensor([ids[-5:-1]]))[0][0, -2:].log_softmax(-1)
    wanted = torch.tensor(ids[-2:])
    ((found, greedy),) = harness._loglikelihood_tokens([(None, ids[:-2], ids[-2:])])
    assert found == pytest.approx(float(logits[range(2), wanted].sum()), rel=1e-5)
    assert greedy == bool((logits.argmax(-1) == wanted).all())
    best = int(logits[0].argmax())
    assert harness._loglikelihood_tokens([(None, ids[-5:-2], [best])])[0][1]


def test_bad_input(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="max_length=9 was given"):
        HarnessModel(language_model(Transformer(8, 1, 2, context=4, positions="learned")), max_length=9)
