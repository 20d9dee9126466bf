"""Files made to do harm: what each tries is its name. A file called `canary` appears where code of one was run."""

import copy
import gzip
import io
import json
import os
import pickle
import random
import re
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from seqmodels.checkpoints.safetensors_io import write

COMMAND = "touch canary"


class Canary:
    """Runs a command when it is unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (COMMAND,)


START = b'{"__metadata__":{"checksum":"'


def crafted(header: dict[str, Any] | bytes, data: bytes = b"") -> bytes:
    """A file whose header has the right checksum, as by someone who knows the format."""
    text = header if isinstance(header, bytes) else json.dumps(header, separators=(",", ":")).encode()
    assert text.startswith(START)
    length = struct.pack("<Q", len(text) + 8)
    end = text[len(START) :]
    return length + START + b"%08x" % zlib.crc32(end, zlib.crc32(length)) + end + data


def described(content: Any, table: dict[str, Any] | None = None, data: bytes = b"") -> bytes:
    """A file that holds this content, JSON or text, and such a table of tensors."""
    table = table or {}
    checksums = []
    for entry in table.values():
        start, stop = entry["data_offsets"]
        checksums.append(zlib.crc32(data[max(0, int(start)) : max(0, int(stop))]))
    metadata = {
        "checksum": "",
        "checksums": "".join(f"{checksum:08x}" for checksum in checksums),
        "content": content if isinstance(content, str) else json.dumps(content),
        "format": "pt",
    }
    return crafted({"__metadata__": metadata, **table}, data)


def _entry(dtype: str, shape: list[Any], *offsets: int) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": list(offsets)}


REFERENCE = {"seqmodels": {"format": 1, "task": {}}, "state_dict": {"a": {"$tensor": "a"}}}
HEADERS: dict[str, bytes] = {
    "exabytes": struct.pack("<Q", 1 << 60) + START + b'00000000"}}',
    "longer than the file": struct.pack("<Q", 1000) + START + b'00000000"}}',
    "nothing behind the checksum": crafted(START + b'"'),
    "no JSON": crafted(START + b'" import os'),
    "a list for metadata": crafted(START + b'"},"a":[]}'),
    "nested deeply": crafted(START + b'"},"a":' + b'{"a":' * 100_000),
    "a field twice": crafted(START + b'"},"a":1,"a":2}'),
    "three million values": crafted(START + b'"},"a":[' + b"{}," * 3_000_000 + b"{}]}"),
    "content that is no JSON": described("import os"),
    "content that is a list": described([REFERENCE]),
    "content nested deeply": described('{"seqmodels":' + "[" * 100_000),
    "content with a field twice": described('{"seqmodels":1,"seqmodels":2}'),
    "content of three million values": described('{"seqmodels":[' + "0," * 3_000_000 + "0]}"),
    "a number of a million digits": described('{"seqmodels":' + "9" * 1_000_000 + "}"),
    "a tensor that is missing": described(REFERENCE),
    "a mark that is not known": described({"seqmodels": {"$code": COMMAND}}),
    "a mark with more beside it": described({"seqmodels": {"$tuple": [], "$list": []}}),
    "a float that is none": described({"seqmodels": {"$float": "1"}}),
    "keys that are lists": described({"seqmodels": {"$dict": [[[1], 2]]}}),
    "keys twice": described({"seqmodels": {"$dict": [[1, 2], [1, 3]]}}),
    "pairs of three": described({"seqmodels": {"$dict": [[1, 2, 3]]}}),
    "no checksum for a tensor": described(REFERENCE, {"a": _entry("F32", [4], 0, 16)}, bytes(16)).replace(
        b"checksums", b"checksumz"
    ),
    **{
        f"tensors: {name}": described(REFERENCE, table, bytes(size))
        for name, (table, size) in {
            "beyond the end": ({"a": _entry("F32", [8], 0, 32)}, 16),
            "a terabyte": ({"a": _entry("F32", [1 << 38], 0, 1 << 40)}, 16),
            "overlapping": ({"a": _entry("F32", [4], 0, 16), "b": _entry("F32", [4], 8, 24)}, 24),
            "apart": ({"a": _entry("F32", [4], 0, 16), "b": _entry("F32", [4], 24, 40)}, 40),
            "not to the end": ({"a": _entry("F32", [4], 0, 16)}, 24),
            "another type": ({"a": _entry("F64", [4], 0, 16)}, 16),
            "a type that is none": ({"a": _entry("os.system", [4], 0, 16)}, 16),
            "backwards": ({"a": _entry("F32", [4], 16, 0)}, 16),
            "sizes below zero": ({"a": _entry("F32", [-4], 0, 16)}, 16),
            "sizes below zero twice": ({"a": _entry("F32", [-2, -2], 0, 16)}, 16),
            "half a size": ({"a": _entry("F32", [2.0, 2], 0, 16)}, 16),
            "a size that is true": ({"a": _entry("F32", [4, True], 0, 16)}, 16),
            "sizes that overflow": ({"a": _entry("F32", [1 << 47, 1 << 47, 0], 0, 0)}, 0),
            "a hundred dimensions": ({"a": _entry("F32", [1] * 100, 0, 4)}, 4),
        }.items()
    },
}
"""Files in the format of checkpoints, with right checksums, that no program of good will writes."""


def saved_by_torch(content: Any, **settings: Any) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, **settings)
    return file.getvalue()


def _foreign() -> dict[str, bytes]:
    doubling: list[Any] = []
    for _ in range(60):
        doubling = [doubling, doubling]
    in_itself: list[Any] = []
    in_itself.append(in_itself)
    deflated, tarred = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(deflated, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("archive/data.pkl", bytes(1 << 28))
    with tarfile.open(fileobj=tarred, mode="w") as tar:
        tar.addfile(info := tarfile.TarInfo("../canary"), io.BytesIO(bytes(info.size)))
    record = {"format": 1, "task": {"class_path": "seqmodels.LanguageModel", "init_args": {}}}
    canaries = {
        "instead of all": Canary(),
        "in the record": {"seqmodels": Canary(), "state_dict": {}},
        "in the weights": {"seqmodels": record, "state_dict": {"more": Canary()}},
        "in the optimizer": {"seqmodels": record, "state_dict": {}, "optimizer_states": [Canary()]},
    }
    return {
        **{f"a canary {place}": saved_by_torch(content) for place, content in canaries.items()},
        **{f"a pickle, protocol {number}": pickle.dumps(Canary(), number) for number in range(6)},
        "a canary of old": saved_by_torch(Canary(), _use_new_zipfile_serialization=False),
        "references that double": saved_by_torch({"seqmodels": record | {"data": doubling}, "state_dict": {}}),
        "a list in itself": saved_by_torch({"seqmodels": in_itself, "state_dict": {}}),
        "a compressed gigabyte": deflated.getvalue(),
        "a tar file": tarred.getvalue(),
        "a compressed pickle": gzip.compress(pickle.dumps(Canary())),
        "weights of another program": safetensors.torch.save({"a": torch.zeros(4)}, {"format": "pt"}),
        "the beginning of a zip file": b"PK\3\4" + bytes(100),
        "zeros": bytes(5000),
        "nothing": b"",
    }


FOREIGN = _foreign()
"""Files of other programs, with and without code."""


def edited(content: dict[str, Any], change: Callable[[dict[str, Any]], object]) -> bytes:
    """A checkpoint that is whole, and says something else."""
    content = copy.deepcopy(content)
    change(content)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "edited"
        write(path, content)
        return path.read_bytes()


def _setting(name: str, value: Any) -> Callable[[dict[str, Any]], object]:
    return lambda content: content["seqmodels"]["task"]["init_args"]["backbone"]["init_args"].update({name: value})


def _argument(name: str, value: Any) -> Callable[[dict[str, Any]], object]:
    return lambda content: content["seqmodels"]["task"]["init_args"].update({name: value})


def _record(name: str, value: Any) -> Callable[[dict[str, Any]], object]:
    return lambda content: content["seqmodels"].update({name: value})


def _one_for_all(content: dict[str, Any]) -> None:
    """A network of a thousand layers that all have the same weights, which are in the file once."""
    weights = content["state_dict"]
    layer = {name: tensor for name, tensor in weights.items() if "cells.0" in name or "layers.0" in name}
    for number in range(1, 1000):
        for name, tensor in layer.items():
            weights[name.replace(".0.", f".{number}.", 1)] = tensor
    _setting("num_layers", 1000)(content)


CHANGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "ten million units": _setting("hidden_size", 10**7),
    "a trillion units": _setting("hidden_size", 10**12),
    "a number without end": _setting("hidden_size", 10**100),
    "a billion layers": _setting("num_layers", 10**9),
    "one layer a thousand times": _one_for_all,
    "units below zero": _setting("hidden_size", -5),
    "half a unit": _setting("hidden_size", 0.5),
    "a name for units": _setting("hidden_size", "8"),
    "a list of units": _setting("hidden_size", [8]),
    "no dropout but nan": _setting("dropout", float("nan")),
    "another class": lambda content: content["seqmodels"]["task"].update(class_path="subprocess.Popen"),
    "a network that is a program": _argument(
        "backbone", {"class_path": "os.system", "init_args": {"command": COMMAND}}
    ),
    "a network that is data": _argument(
        "backbone", {"class_path": "seqmodels.data.text.TextDataModule", "init_args": {"data": "/etc/passwd"}}
    ),
    "a network that is a number": _argument("backbone", 5),
    "a tokenizer that is a number": _argument("tokenizer", 5),
    "a tokenizer that is nested": _argument(
        "tokenizer",
        {"class_path": "seqmodels.data.tokenizers.Tokenizer", "init_args": {"json": "[" * 100_000}},
    ),
    "an argument more": _argument("command", COMMAND),
    "a record that is a list": lambda content: content.update(seqmodels=[]),
    "a task that is a list": _record("task", []),
    "data that is a list": _record("data", []),
    "a carried state of strings": _record("carried", ["a"]),
    "random numbers of another kind": _record("random", "seed"),
    "tokens below zero": _record("tokens_seen", -1),
    "a later format": _record("format", 2),
    "a format of another type": _record("format", True),
    "weights that are a list": lambda content: content.update(state_dict=[]),
    "weights that are strings": lambda content: content.update(state_dict=dict.fromkeys(content["state_dict"], "a")),
    "versions of modules that are strings": lambda content: content["state_dict"].__setattr__("_metadata", {"": "a"}),
}
"""What a whole checkpoint may say that is not so."""


def rules(**parts: Any) -> str:
    """A tokenizer with rules of one's own."""
    model = {"type": "WordLevel", "vocab": {"a": 0, "b": 1}, "unk_token": "a"}
    made = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None}
    return json.dumps({**made, "pre_tokenizer": None, "post_processor": None, "decoder": None, "model": model, **parts})


def _vocab(**ids: Any) -> str:
    return rules(model={"type": "WordLevel", "vocab": ids, "unk_token": "a"})


TOKENIZERS: dict[str, str] = {
    "nested lists": "[" * 1_000_000,
    "nested objects": '{"a":' * 1_000_000,
    "nested rules": rules().replace(
        '"normalizer": null', '"normalizer": ' + '{"type":"Sequence","normalizers":[' * 10_000 + "null" + "]}" * 10_000
    ),
    "ids far apart": _vocab(a=0, b=4_000_000_000),
    "an id without end": _vocab(a=0, b=10**30),
    "an id below zero": _vocab(a=0, b=-1),
    "an id that is a string": _vocab(a=0, b="1"),
    "a text that doubles": rules(
        normalizer={
            "type": "Sequence",
            "normalizers": [{"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}] * 60,
        }
    ),
    "a rule of megabytes": rules(normalizer={"type": "Prepend", "prepend": "a" * 2_000_000}),
    "two models": rules().replace('"model":', '"model": {"type": "WordLevel", "vocab": {"a": 9000000000}}, "model":'),
    "parentheses": rules(
        pre_tokenizer={
            "type": "Split", "pattern": {"Regex": "(" * 4000 + ")" * 4000}, "behavior": "Isolated", "invert": False
        }
    ),
    "no model": "{}",
    "not JSON": "import os",
    "NaN": "NaN",
}  # fmt: skip


def task(backbone: str) -> str:
    """Settings with a network of their own."""
    return f"task: {{init_args: {{backbone: {backbone}}}}}"


SETTINGS: dict[str, str] = {
    "a tag that runs": f"!!python/object/apply:os.system ['{COMMAND}']",
    "a tag that runs, inside": f"task: {{init_args: {{lr: !!python/object/apply:os.system ['{COMMAND}']}}}}",
    "a tag of a name": "fit: !!python/name:os.system",
    "a tag of a module": "fit: !!python/module:antigravity",
    "laughs": "a: &a [x,x]\n"
    + "".join(f"{chr(98 + i)}: &{chr(98 + i)} [" + f"*{chr(97 + i)}," * 9 + "]\n" for i in range(20)),
    "nested lists": "fit: " + "[" * 100_000,
    "nested blocks": "".join(" " * i + f"a{i}:\n" for i in range(300)),
    "a list": "- 1",
    "a list in itself": "&a [*a]",
    "a flat file": "lr: 0.1",
    "a section that there is not": "model: {}",
    "a section that is a list": "fit: [1]",
    "a section with a name of its own": "task: {lr: 0.1}",
    "arguments that are none": "data: {init_args: 3}",
    "a name that is none": "fit: {1: 2}",
    "an argument that there is not": "fit: {max_stepz: 2}",
    "an argument of another section": "fit: {lr: 0.1}",
    "a network where there is none": "fit: {max_tokens: {class_path: LSTM, init_args: {}}}",
    "a program as task": "task: {class_path: os.system}",
    "a module as task": "task: {class_path: canary_module.Network}",
    "a network as task": "task: {class_path: seqmodels.LSTM}",
    "a task as data": "data: {class_path: seqmodels.LanguageModel}",
    "a program as network": task(f"{{class_path: os.system, init_args: {{command: {COMMAND}}}}}"),
    "a module as network": task("canary_module.Network"),
    "a file as network": task("/etc/passwd"),
    "no network": task("null"),
    "megabytes": "fit: {prompt: " + "a" * 2_000_000 + "}",
    "digits": "fit: {max_steps: " + "9" * 50_000 + "}",
    "null": "data: {init_args: {seed: null}}",
    "null for a fraction": "data: {init_args: {val_fraction: null}}",
    "null in a network": task("{class_path: LSTM, init_args: {forget_bias: null}}"),
    "null as arguments": task("{class_path: LSTM, init_args: null}"),
    "a billion layers": task("{class_path: LSTM, init_args: {hidden_size: 1, num_layers: 1000000000}}"),
    "a trillion units": task("{class_path: LSTM, init_args: {hidden_size: 1000000000000}}"),
    "a seed without end": "data: {init_args: {seed: 1000000000000000000000000}}",
    "no number": "task: {init_args: {lr: .nan}}",
    "two documents": "fit: {}\n---\nfit: {}\n",
    "NUL": "fit: \0",
    "a binary": "\x7fELF",
}


def pipe(folder: Path) -> Path:
    """A pipe that nobody writes to."""
    os.mkfifo(folder / "pipe")
    return folder / "pipe"


EXTREME = ("0", "-1", "1e308", "1e-320", "1000000", "4294967296", "1000000000000", "9" * 40, "NaN", "null", "[]", '"x"')
"""Numbers, and what is none, that a text may have in place of its own."""


def mutated(content: bytes, chance: random.Random, text: bool = False) -> bytes:
    """A file with bits flipped, pieces overwritten, zeroed, cut off, repeated, moved or swapped, or bytes appended.

    Args:
        content: of the file.
        chance: decides what is changed.
        text: it is JSON or YAML, in which a number may become an extreme one.
    """
    made, place, length = bytearray(content), chance.randrange(len(content)), 1 << chance.randrange(12)
    other = chance.randrange(len(content))
    match chance.randrange(10 if text else 8):
        case 0:
            made[place] ^= 1 << chance.randrange(8)
        case 1:
            for _ in range(chance.randint(2, 40)):
                made[chance.randrange(len(made))] ^= 1 << chance.randrange(8)
        case 2:
            made[place : place + length] = chance.choice((chance.randbytes(length), bytes(length), b"\xff" * length))
        case 3:
            del made[place:]
        case 4:
            made[place:place] = made[place : place + length] * chance.randint(1, 3)
        case 5:
            made[place : place + length] = content[other : other + length]
        case 6:
            first, last = sorted((place, other))
            pieces = made[first : first + length], made[last : last + length]
            made[last : last + length], made[first : first + length] = pieces
        case 7:
            made += chance.choice((chance.randbytes(length), bytes(length), content))
        case _:
            numbers = list(re.finditer(rb"(?<![\w.])-?\d+(\.\d+)?(?![\w.])|null|true|false", content))
            if numbers:
                number = chance.choice(numbers)
                made[number.start() : number.end()] = chance.choice(EXTREME).encode()
    return bytes(made)


SHAPES: list[list[Any]] = [[], [0], [-4], [4.0], ["4"], [1 << 40], [1 << 47, 1 << 47, 0], [1] * 100]
NAMES = ("", "../../canary", "/tmp/canary", "a" * 10_000, "\0", "__class__")
CLASSES = (
    b"os.system",
    b"subprocess.Popen",
    b"canary_module.Network",
    b"../canary",
    b"seqmodels.LSTM",
    b"seqmodels.load",
)
NESTED = (b"[" * 100_000, b'{"a":' * 100_000, b"[" + b"0," * 1_100_000 + b"0]", b'{"a":1,"a":2}')


def forged(content: bytes, chance: random.Random) -> bytes:
    """A checkpoint changed by someone who knows the format: its checksums are right.

    Shapes, types, places and names of tensors, the JSON of the content or that of the header are not as they were.
    """
    size = 8 + int.from_bytes(content[:8], "little")
    table, data = json.loads(content[8:size]), content[size:]
    text: bytes = table.pop("__metadata__")["content"].encode()
    name, other = chance.choice(list(table)), chance.choice(list(table))
    entry = table[name]
    match chance.randrange(13):
        case 0:
            entry["shape"] = chance.choice([*SHAPES, entry["shape"][::-1], [*entry["shape"], 1]])
        case 1:
            entry["dtype"] = chance.choice(("F64", "F32", "BF16", "I32", "U8", "BOOL", "F99", "os.system"))
        case 2:
            entry["data_offsets"][chance.randrange(2)] += chance.choice((-(1 << 40), -64, -4, 4, 64, 1 << 40))
        case 3:
            entry["data_offsets"] = table[other]["data_offsets"]
        case 4:
            del table[name]
        case 5:
            table[chance.choice(NAMES)] = table.pop(name)
        case 6:
            table[name], table[other] = table[other], entry
        case 7:
            data = mutated(data, chance)
        case 8:
            calls = list(re.finditer(rb'"class_path":"([^"]*)"', text))
            call = chance.choice(calls) if calls else None
            text = text if call is None else text[: call.start(1)] + chance.choice(CLASSES) + text[call.end(1) :]
        case 9:
            values = list(re.finditer(rb"(?<=[:,\[])(\d+|null|true|false)(?=[,\]}])", text))
            value = chance.choice(values) if values else None
            text = text if value is None else text[: value.start()] + chance.choice(NESTED) + text[value.end() :]
        case 10:
            return crafted(START + mutated(content[8 + len(START) + 8 : size], chance, text=True), data)
        case _:
            text = mutated(text, chance, text=True)
    return described(text.decode(errors="replace"), table, data)
