"""Files of a tokenizer for the library transformers, whose `AutoTokenizer` then gives the same ids."""

import json
from typing import Any

from seqmodels.batch import SPECIAL_TOKENS, UNK
from seqmodels.data.tokenizers import Tokenizer

ROLES = ("pad_token", "bos_token", "eos_token", "unk_token")
"""Names of the special tokens in transformers, in the order of their ids here."""
NEVER = -1e9
"""The log-probability of a token that no text has."""


def for_transformers(tokenizer: Tokenizer, max_length: int | None = None) -> dict[str, str]:
    """The content of `tokenizer.json`, `tokenizer_config.json` and `special_tokens_map.json`.

    With them, `AutoTokenizer.from_pretrained(folder)(text).input_ids` is `tokenizer.encode(text)`, and the ids of
    padding, BOS, EOS and the unknown token are those of `seqmodels.batch`.

    Args:
        tokenizer: whose ids they give.
        max_length: most tokens that the model reads; None for any number.
    """
    content: dict[str, Any] = json.loads(tokenizer.json)
    if tokenizer.shift:
        content = _moved_up(content)
    if content["model"].get("type", "BPE") == "BPE":
        content["model"]["dropout"] = None
    content |= {"post_processor": None, "truncation": None, "padding": None}
    same = content == {"post_processor": None, "truncation": None, "padding": None, **json.loads(tokenizer.json)}
    text = tokenizer.json if same else json.dumps(content, ensure_ascii=False)
    names = dict(zip(ROLES, _first_names(content), strict=True))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        **names,
        "split_special_tokens": True,  # the name of a special token in a text is ordinary text
        "clean_up_tokenization_spaces": False,
        "model_max_length": max_length or int(1e30),
        "model_input_names": ["input_ids", "attention_mask"],
    }
    return {
        "tokenizer.json": text,
        "tokenizer_config.json": json.dumps(settings, indent=2, ensure_ascii=False) + "\n",
        "special_tokens_map.json": json.dumps(names, indent=2, ensure_ascii=False) + "\n",
    }


def _first_names(content: dict[str, Any]) -> list[str]:
    """The names of the first four tokens."""
    vocab = content["model"]["vocab"]
    pairs = vocab.items() if isinstance(vocab, dict) else [(token, i) for i, (token, _) in enumerate(vocab)]
    found = {i: token for token, i in pairs if i < len(SPECIAL_TOKENS)}
    found |= {token["id"]: token["content"] for token in content["added_tokens"] if token["id"] < len(SPECIAL_TOKENS)}
    return [found[i] for i in range(len(SPECIAL_TOKENS))]


def _moved_up(content: dict[str, Any]) -> dict[str, Any]:
    """A tokenizer of another program with its ids moved up by four, its unknown token at UNK, and ours before them.

    Their names have spaces, at which words are cut, so that none of them is a piece of a text.
    """
    model, shift = dict(content["model"]), len(SPECIAL_TOKENS)
    vocab, added = model["vocab"], content.get("added_tokens") or []
    by_id = vocab if isinstance(vocab, dict) else {token: i for i, (token, _) in enumerate(vocab)}
    taken = {*by_id, *(token["content"] for token in added)}
    if isinstance(vocab, dict):
        unknown = model.get("unk_token")
    else:
        unknown = None if model.get("unk_id") is None else vocab[model["unk_id"]][0]
    first = [_free(f"< {name.strip('<>')} >", taken) for name in SPECIAL_TOKENS]
    if unknown is not None and unknown in taken:
        first[UNK] = unknown

    def moved(token: str, i: int) -> int:
        return UNK if token == unknown else i + shift

    if isinstance(vocab, dict):
        new = {token: i for i, token in enumerate(first)} | {token: moved(token, i) for token, i in vocab.items()}
        if unknown in vocab:
            new[_free("< unused >", taken)] = vocab[unknown] + shift  # no id is left out
        model["vocab"] = dict(sorted(new.items(), key=lambda one: one[1]))
    else:
        unused = [[_free("< unused >", taken), NEVER] if token == unknown else [token, score] for token, score in vocab]
        model["vocab"] = [[token, NEVER] for token in first] + unused
        if unknown is not None:
            model["vocab"][UNK][1] = vocab[model["unk_id"]][1]
            model["unk_id"] = UNK
    added = [{**token, "id": moved(token["content"], token["id"])} for token in added]
    return {**content, "model": model, "added_tokens": sorted(added, key=lambda token: token["id"])}


def _free(name: str, taken: set[str]) -> str:
    """A name that no token has yet."""
    while name in taken:
        name = f"{name[:-1]}_ >"
    return name
