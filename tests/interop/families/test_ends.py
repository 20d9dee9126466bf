"""Models with several tokens that end a text, as chat models have, stop at each of them, as in transformers."""

import json
from pathlib import Path

import pytest
from interop.families.models import END, START, UNKNOWN, transformers, written
from interop.families.models import tokenizer as trained

from seqmodels import InputError, LanguageModel, Sampling, Tokenizer, load
from seqmodels.batch import EOS
from seqmodels.interop.ctranslate2 import convert
from seqmodels.interop.ctranslate2.engine import GeneratorEngine
from seqmodels.interop.families.write import export_hf

GREEDY = Sampling(temperature=0)
PROMPTS = ["the fox", "a cat on"]


def of_generation(folder: Path, **fields: object) -> None:
    file = folder / "generation_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | fields))


def test_any_of_several_ends(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    theirs = written("llama", folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    ids = tokenizer(PROMPTS[0], return_tensors="pt").input_ids
    whole = theirs.generate(ids, max_new_tokens=40, do_sample=False)[0, ids.shape[1] :].tolist()
    end = whole[12]
    of_generation(folder, eos_token_id=[1, 280, end])
    model = load(folder)
    assert isinstance(model, LanguageModel)
    assert model.tokenizer.ends == {EOS, 284, end + 4}
    wanted = tokenizer.decode(whole[: whole.index(end)])
    found = [one for (one,) in model.generate_batch(PROMPTS, max_tokens=40, sampling=GREEDY)]
    assert found[0] == wanted == "".join(model.generate(PROMPTS[0], max_tokens=40, sampling=GREEDY))
    assert len(wanted) > 3

    (tmp_path / "engine").mkdir()
    convert.write(model, tmp_path / "engine")
    model.engine = GeneratorEngine(model, tmp_path / "engine")
    assert [one for (one,) in model.generate_batch(PROMPTS, max_tokens=40, sampling=GREEDY)] == found
    assert "".join(model.generate(PROMPTS[0], max_tokens=40, sampling=GREEDY)) == wanted

    export_hf(model, tmp_path / "back")
    back = transformers.GenerationConfig.from_pretrained(tmp_path / "back")
    assert sorted(back.eos_token_id) == sorted([1, 280, end])
    assert load(tmp_path / "back").tokenizer.ends == model.tokenizer.ends

    of_generation(folder, eos_token_id=[1, 9999])
    with pytest.raises(InputError, match=r"eos_token_id is 9999 in .*no such token"):
        load(folder)


def test_names_of_ends_in_a_text_are_text() -> None:
    """And other ends are given to the same tokenizer without building it again."""
    plain = Tokenizer(trained([START, END, UNKNOWN]).to_str())
    found = plain.between(START, [END, "the"])
    assert found.ends == {EOS, *found.encode("the")}
    assert found.constructor_call == Tokenizer(plain.json, START, [END, "the"]).constructor_call
    assert EOS not in found.encode(f"one{END}")
    assert plain.ends == {EOS}
    assert plain.constructor_call["init_args"]["end"] is None
