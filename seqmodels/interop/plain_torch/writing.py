"""Writes a model as `model.py`, which needs torch alone, with its weights and settings beside it."""

import ast
import functools
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from seqmodels.errors import InputError
from seqmodels.interop.plain_torch import templates
from seqmodels.interop.plain_torch.settings import Settings, head_settings, network_settings
from seqmodels.tasks import LanguageModel, Translator

PIECES = ("recurrent", "memories", "blocks", "decoders", "models")
"""Files of `templates`, in an order in which base classes stand before what is made of them."""

ABOUT = {
    "LanguageModel": """A language model in plain torch: embedding, network, softmax layer.

    from model import load
    model = load()
    logits, state = model(ids)            # ids: int64 (rows, positions)
    logits, state = model(more, state)    # goes on after them
""",
    "Translator": """A translator in plain torch: an encoder of the source, a decoder of the translation.

    from model import load
    model = load()
    memory = model.encode(source, lengths)             # int64 (rows, positions), padded behind their lengths (rows,)
    logits, state = model.decode(ids, memory)          # ids: int64 (rows, positions)
    logits, state = model.decode(more, memory, state)  # goes on after them
""",
}
"""How a `model.py` begins."""
PARTS = "source_embedding.", "embedding.", "encoder.", "decoder.", "backbone.", "head."
"""Beginnings of the names of weights."""
REST = "Needs torch and safetensors. The settings are in `config.json`, the weights in `model.safetensors`."
LOOPS = " Recurrent\nlayers are loops over the equation of one step: slow, and obviously right."


GENERATE = """import torch
from model import load
from tokenizers import Tokenizer

model, tokenizer = load(), Tokenizer.from_file("tokenizer.json")
ids, state = [1, *tokenizer.encode("def ").ids], None  # 1 stands in front of every text, 2 ends it
given = torch.tensor([ids])
with torch.no_grad():
    for _ in range(100):
        logits, state = model(given, state)
        logits[0, -1, [0, 1, 3]] = -torch.inf  # never written: padding, beginning, unknown
        given = logits[:, -1:].argmax(-1)
        if given.item() in {2}:
            break
        ids.append(given.item())
print(tokenizer.decode(ids[1:]))
"""
TRANSLATE = """import torch
from model import load
from tokenizers import Tokenizer

model, tokenizer = load(), Tokenizer.from_file("tokenizer.json")
sources = Tokenizer.from_file("source_tokenizer.json")
ids, state, given = [], None, torch.tensor([[1]])  # 1 begins a translation, 2 ends it
with torch.no_grad():
    memory = model.encode(torch.tensor([[*sources.encode("a man").ids, 2]]))
    for _ in range(100):
        logits, state = model.decode(given, memory, state)
        logits[0, -1, [0, 1, 3]] = -torch.inf  # never written: padding, beginning, unknown
        given = logits[:, -1:].argmax(-1)
        if given.item() in {2}:
            break
        ids.append(given.item())
print(tokenizer.decode(ids))
"""
"""Programs that write the likeliest text, token by token."""


def example(model: LanguageModel | Translator) -> str:
    """A program that uses the files of a folder, which has the tokenizers as well."""
    text = GENERATE if isinstance(model, LanguageModel) else TRANSLATE
    if not model.tokenizer.starts:
        text = text.replace("[1, *", "[*").replace("1 stands in front of every text, ", "").replace("ids[1:]", "ids")
    if isinstance(model, Translator) and model.source_tokenizer.json == model.tokenizer.json:
        text = text.replace('"source_tokenizer.json"', '"tokenizer.json"')
    return text.replace("{2}", str(set(model.tokenizer.ends)))


def write(model: LanguageModel | Translator, folder: Path) -> None:
    """Write `model.py`, `config.json` and `model.safetensors` into a folder that is there already.

    Raises:
        InputError: there is no such form of this network.
    """
    settings = _translator(model) if isinstance(model, Translator) else _language_model(model)
    (folder / "model.py").write_text(source_of(settings), encoding="utf-8")
    (folder / "config.json").write_text(json.dumps({"model": settings}, indent=1) + "\n", encoding="utf-8")
    tied = {f"{name}.weight" for name in settings["tied"]}
    used = {name: tensor for name, tensor in model.state_dict().items() if name.startswith(PARTS) and name not in tied}
    save_file(
        {name: tensor.detach().cpu().clone().contiguous() for name, tensor in used.items()},
        folder / "model.safetensors",
    )


def _language_model(model: LanguageModel) -> Settings:
    if not isinstance(model.head, torch.nn.Linear):
        raise InputError(
            f"there is no plain form of {model.name}, which mixes probabilities; export what it is made of"
        )
    vocab_size, size = model.embedding.weight.shape
    return {
        "kind": "LanguageModel", "vocab_size": vocab_size, "input_size": size,
        "backbone": network_settings(model.backbone), "head": head_settings(model.head), "tied": _tied(model),
    }  # fmt: skip


def _translator(model: Translator) -> Settings:
    sources, targets = model.source_embedding.weight.shape, model.embedding.weight.shape
    return {
        "kind": "Translator", "sources": list(sources), "targets": list(targets),
        "encoder": network_settings(model.encoder), "decoder": network_settings(model.decoder),
        "head": head_settings(model.head), "tied": _tied(model), "reverse": model.reverse,
    }  # fmt: skip


def _tied(model: Any) -> list[str]:
    """Modules that have the weights of the embedding."""
    others = [name for name in ("head", "source_embedding") if hasattr(model, name)]
    return [name for name in others if getattr(model, name).weight is model.embedding.weight]


def source_of(settings: Settings) -> str:
    """The text of a `model.py`: of all pieces those that these settings need, directly or through others."""
    definitions, imports = _definitions()
    needed, waiting = set[str](), ["load", *_kinds(settings)]
    while waiting:
        if (name := waiting.pop()) in definitions and name not in needed:
            needed.add(name)
            waiting += definitions[name][1]
    body = [text for name, (text, _) in definitions.items() if name in needed]
    used = {name for one in needed for name in definitions[one][1]}
    loops = LOOPS if any("def step(self" in text for text in body) else ""
    head = f'"""{ABOUT[settings["kind"]]}\n{REST}{loops}\n"""'
    return f"{head}\n\n{_imports(imports, used)}\n\n\n" + "\n\n".join(body)


@functools.cache
def _definitions() -> tuple[dict[str, tuple[str, list[str]]], list[ast.Import | ast.ImportFrom]]:
    """The text of each class and function of the pieces, with the names in it, and all imports."""
    definitions, imports = dict[str, tuple[str, list[str]]](), list[ast.Import | ast.ImportFrom]()
    for piece in PIECES:
        text = Path(templates.__path__[0], f"{piece}.py").read_text(encoding="utf-8")
        lines = text.splitlines(keepends=True)
        for node in ast.parse(text).body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef):
                definitions[node.name] = "".join(lines[node.lineno - 1 : node.end_lineno]), _names(node)
            elif isinstance(node, ast.Import | ast.ImportFrom):
                imports.append(node)
    return definitions, imports


def _names(node: ast.AST) -> list[str]:
    """Names that are read in a definition."""
    return [one.id for one in ast.walk(node) if isinstance(one, ast.Name)]


def _kinds(settings: Any) -> Iterator[str]:
    """Names of classes in a tree of settings."""
    if isinstance(settings, dict):
        if "kind" in settings:
            yield settings["kind"]
        settings = list(settings.values())
    if isinstance(settings, list):
        for one in settings:
            yield from _kinds(one)


def _imports(nodes: list[ast.Import | ast.ImportFrom], used: set[str]) -> str:
    """Lines that import the used names, those of Python itself first."""
    lines = dict[str, str]()
    for node in nodes:
        origin = node.module or "" if isinstance(node, ast.ImportFrom) else ""
        for alias in node.names:
            module, bound = origin or alias.name, alias.asname or alias.name
            if bound in used and not module.startswith("seqmodels."):
                kept = [one for one in node.names if (one.asname or one.name) in used]
                lines[ast.unparse(type(node)(**(vars(node) | {"names": kept})))] = module.partition(".")[0]
    ordered = sorted(lines, key=lambda line: (line.startswith("from"), line))
    own = [line for line in ordered if lines[line] in sys.stdlib_module_names]
    return "\n".join([*own, "", *(line for line in ordered if line not in own)])
