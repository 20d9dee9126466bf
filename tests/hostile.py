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
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

COMMAND = "touch canary"


class Canary:
    """Runs a command when it is unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (COMMAND,)


PICKLES: dict[str, bytes] = {
    **{f"protocol {number}": pickle.dumps(Canary(), number) for number in range(6)},
    "global": b"\x80\x02cos\nsystem\nX\x0c\0\0\0" + COMMAND.encode() + b"\x85R.",
    "stack global": b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x0c" + COMMAND.encode() + b"\x85R.",
    "instance": b"(S'" + COMMAND.encode() + b"'\nios\nsystem\n.",
    "object": b"(cos\nsystem\nS'" + COMMAND.encode() + b"'\no.",
    "getattr": b"\x80\x02c__builtin__\ngetattr\ncos\nsystem\nX\x06\0\0\0__call__\x86R.",
    "builds attributes": b"\x80\x02ccollections\nOrderedDict\n)R}X\x05\0\0\0itemscos\nsystem\nsb.",
    "extension": b"\x80\x02\x82\x01.",
    "evaluates": b"\x80\x02c__builtin__\neval\nX\x01\0\0\x001\x85R.",
}
"""Outlines that run something, or would in a careless reader."""


def doubled(opening: bytes, closing: bytes, levels: int) -> bytes:
    """A list of two of the same list of two of ..., by references."""
    made = b"\x80\x02" + opening + b"q\x00"
    for level in range(levels):
        made += b"]q" + bytes([level + 1]) + b"(h" + bytes([level]) + b"h" + bytes([level]) + b"e"
    return made + closing + b"."


BOMBS: dict[str, bytes] = {
    "a terabyte of bytes": b"\x80\x02c__builtin__\nbytearray\n\x8a\x06" + (1 << 40).to_bytes(6, "little") + b"\x85R.",
    "a large tensor": b"\x80\x02ctorch\nFloatTensor\n\x8a\x06" + (1 << 40).to_bytes(6, "little") + b"\x85R.",
    "references that double": doubled(b"]", b"", 60),
    "a list in itself": b"\x80\x02]q\x00h\x00a.",
    "nested deeply": b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".",
    "nested tuples": b"\x80\x02)" + b"\x85" * 100_000 + b".",
    "copies of a dict": b"\x80\x02}q\x00(" + b"".join(
        b"J" + struct.pack("<i", i) + b"N" for i in range(1000)
    ) + b"u0(" + b"ccollections\nOrderedDict\nh\x00\x85R" * 1000 + b"l.",
    "keys that collide": b"\x80\x02}(" + b"".join(
        b"\x8a\x0b" + (i * ((1 << 61) - 1)).to_bytes(11, "little") + b"N" for i in range(20_000)
    ) + b"u.",
    "steps without end": b"\x80\x02](" + b"N" * 1_000_000 + b"e.",
    "a string longer than the file": b"\x80\x02X\xff\xff\xff\xff.",
    "nothing on the stack": b"\x80\x02R.",
    "no end": b"\x80\x02}",
}  # fmt: skip
"""Outlines that would need more memory or time than anyone has."""


def container(outline: bytes, root: str = "archive", **entries: bytes) -> bytes:
    """A container as torch has it, without compression."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as made:
        made.writestr(f"{root}/data.pkl", outline)
        for name, content in {"byteorder": b"little", **entries, "version": b"3\n"}.items():
            made.writestr(f"{root}/{name.replace('__', '/')}", content)
    return file.getvalue()


def tensor(
    key: str, count: int, offset: int = 0, shape: tuple[int, ...] = (1,), stride: tuple[int, ...] = (1,)
) -> bytes:
    """The outline of a checkpoint with one weight, whatever it says of its size."""

    def number(value: int) -> bytes:
        return b"\x8a\x10" + value.to_bytes(16, "little", signed=True)

    def string(text: str) -> bytes:
        return b"X" + struct.pack("<I", len(text)) + text.encode()

    def numbers(values: tuple[int, ...]) -> bytes:
        return b"(" + b"".join(map(number, values)) + b"t"

    storage = b"(" + string("storage") + b"ctorch\nFloatStorage\n" + string(key) + string("cpu") + number(count) + b"tQ"
    view = number(offset) + numbers(shape) + numbers(stride) + b"\x89ccollections\nOrderedDict\n)R"
    made = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + view + b"tR"
    return b"\x80\x02}(" + string("state_dict") + b"}" + string("weight") + made + b"su."


SIZES: dict[str, bytes] = {
    name: container(outline, data__0=bytes(16))
    for name, outline in {
        "more elements than bytes": tensor("0", 1 << 40),
        "fewer elements than bytes": tensor("0", 3),
        "a negative number of elements": tensor("0", -4),
        "an entry that is not there": tensor("1", 4),
        "an entry that climbs": tensor("../../data/0", 4),
        "a view beyond the end": tensor("0", 4, 3, (2,), (1,)),
        "a view before the start": tensor("0", 4, -4, (2,), (1,)),
        "one element a trillion times": tensor("0", 4, 0, (1 << 40,), (0,)),
        "a stride of petabytes": tensor("0", 4, 0, (2,), (1 << 50,)),
        "sizes that overflow": tensor("0", 4, 0, (1 << 62, 8), (1, 1)),
        "a hundred dimensions": tensor("0", 4, 0, (1,) * 100, (1,) * 100),
    }.items()
}
"""Checkpoints that lie about their tensors."""


def deflated(content: bytes) -> bytes:
    """A container with compressed entries."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("archive/data.pkl", content)
        made.writestr("archive/version", b"3\n")
    return file.getvalue()


def tarred() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as made:
        made.addfile(info := tarfile.TarInfo("../canary"), io.BytesIO(bytes(info.size)))
    return file.getvalue()


def legacy(content: Any) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=False)
    return file.getvalue()


def containers() -> dict[str, bytes]:
    """Containers that are not as torch writes them."""
    plain = container(b"\x80\x02}.")
    end = len(plain) - 22
    start = struct.unpack_from("<I", plain, end + 16)[0]
    twice = io.BytesIO()
    with zipfile.ZipFile(twice, "w") as made:
        for name in ("data.pkl", "version", "DATA.PKL"):
            made.writestr(f"archive/{name}", b"\x80\x02}." if name != "version" else b"3\n")
    return {
        "a compressed gigabyte": deflated(bytes(1 << 28)),
        "names that climb": container(b"\x80\x02}.", root=".."),
        "an absolute name": container(b"\x80\x02}.", root="/tmp"),
        "an entry that climbs": container(b"\x80\x02}.", **{"..__..__canary": b""}),
        "a program": container(b"\x80\x02}.", code__module=b"import os", **{"constants.pkl": b"\x80\x02)."}),
        "names that differ in case": twice.getvalue(),
        "another byte order": container(b"\x80\x02}.").replace(b"little", b"BIGBIG"),
        "four billion entries": plain[: end + 8] + b"\xff" * 4 + plain[end + 12 :],
        "a table of four gigabytes": plain[: end + 12] + b"\xff" * 4 + plain[end + 16 :],
        "a table elsewhere": plain[: end + 16] + b"\xf0\xff\xff\xff" + plain[end + 20 :],
        "an entry of four gigabytes": plain[: start + 20] + b"\xfe\xff\xff\xff" * 2 + plain[start + 28 :],
        "something before": b"PK\3\4" + bytes(96) + plain,
        "a comment": plain[:-2] + b"\4\0PK\5\6",
        "two ends": plain + plain[-22:],
        "a tar file": tarred(),
        "a legacy file": legacy({"state_dict": {}}),
        "a legacy canary": legacy(Canary()),
        "a compressed pickle": gzip.compress(PICKLES["global"]),
        "zeros": bytes(5000),
        "nothing": b"",
    }


def edited(content: dict[str, Any], change: Callable[[dict[str, Any]], object]) -> bytes:
    """A checkpoint that is whole, and says something else."""
    file, content = io.BytesIO(), copy.deepcopy(content)
    change(content)
    torch.save(content, file)
    return file.getvalue()


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
    "a canary for an optimiser": lambda content: content.update(optimizer_states=[Canary()]),
    "a canary for a weight": lambda content: content["state_dict"].update(more=Canary()),
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


def safetensors(header: Any, content: bytes = b"") -> bytes:
    """A file of weights with a header that says what one likes."""
    written = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(written)) + written + content


def _entry(dtype: str, shape: list[int], *offsets: int) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": list(offsets)}


WEIGHTS: dict[str, bytes] = {
    "a header of exabytes": struct.pack("<Q", 1 << 60) + b"{}",
    "a header longer than the file": struct.pack("<Q", 1000) + b"{}",
    "offsets beyond the end": safetensors({"a": _entry("F32", [4], 0, 16)}),
    "a terabyte": safetensors({"a": _entry("F32", [1 << 38], 0, 1 << 40)}, bytes(16)),
    "offsets that overlap": safetensors({"a": _entry("F32", [4], 0, 16), "b": _entry("F32", [4], 8, 24)}, bytes(24)),
    "another type": safetensors({"a": _entry("F64", [4], 0, 16)}, bytes(16)),
    "a type that is none": safetensors({"a": _entry("os.system", [4], 0, 16)}, bytes(16)),
    "offsets backwards": safetensors({"a": _entry("F32", [4], 16, 0)}, bytes(16)),
    "sizes below zero": safetensors({"a": _entry("F32", [-4], 0, 16)}, bytes(16)),
    "nested": safetensors(b'{"a":' * 100_000),
    "a field twice": safetensors(b'{"a":1,"a":2}'),
    "no JSON": safetensors(b"import os"),
    "nothing": b"",
}


def pipe(folder: Path) -> Path:
    """A pipe that nobody writes to."""
    os.mkfifo(folder / "pipe")
    return folder / "pipe"


EXTREME = ("0", "-1", "1e308", "1e-320", "1000000", "4294967296", "1000000000000", "9" * 40, "NaN", "null", "[]", '"x"')
"""Numbers, and what is none, that a text may have in place of its own."""


def mutated(content: bytes, chance: random.Random, text: bool = False) -> bytes:
    """The same with bits flipped, bytes written over, cut off, doubled or moved, or an extreme number in a text."""
    made, place, length = bytearray(content), chance.randrange(len(content)), 1 << chance.randrange(12)
    match chance.randrange(8 if text else 6):
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
            other = chance.randrange(len(content))
            made[place : place + length] = content[other : other + length]
        case _:
            numbers = list(re.finditer(rb"(?<![\w.])-?\d+(\.\d+)?(?![\w.])|null|true|false", content))
            if numbers:
                number = chance.choice(numbers)
                made[number.start() : number.end()] = chance.choice(EXTREME).encode()
    return bytes(made)
