"""Models of CTranslate2, and generation and translation by them, give what torch gives."""

from pathlib import Path

import pytest
import torch
from refusals import assert_refused

from seqmodels import Beam, Draws, LanguageModel, Sampling, Tokenizer, Transformer, Translator
from seqmodels.batch import NEVER
from seqmodels.environment import threads
from seqmodels.interop.ctranslate2 import convert
from seqmodels.interop.ctranslate2.engine import GeneratorEngine, TranslatorEngine, generator_settings

ctranslate2 = pytest.importorskip("ctranslate2", reason="the extra ctranslate2 is not installed")

TOKENS = Tokenizer.char(["abcdefgh"])
NETWORKS = {
    "learned, tanh, biases": lambda: Transformer(
        32, 2, 2, context=40, positions="learned", activation="gelu-tanh", bias="all"
    ),
    "rotary, rms, grouped": lambda: Transformer(
        32, 2, 4, 2, context=40, norm="rms", activation="swiglu", eps=1e-6, rotary_base=5e4, attention_scale=0.3
    ),
    "heads of their own size, normed": lambda: Transformer(
        24, 2, 2, context=40, head_size=16, qk_norm=True, norm="rms", eps=1e-6, activation="geglu", bias="qkv"
    ),
    "parallel, in part rotary": lambda: Transformer(
        32, 2, 2, context=40, residual="parallel", rotary_share=0.5, bias="all", activation="relu"
    ),
    "post-norm, sinusoidal": lambda: Transformer(
        32, 2, 2, context=40, positions="sinusoidal", residual="post-norm", input_scale=32**0.5, activation="silu"
    ),
    "scaled angles": lambda: Transformer(32, 1, 2, context=40, rotary_scaling={"factor": 2.0}),
    "learned with an offset": lambda: Transformer(32, 1, 2, context=40, positions="learned", position_offset=2),
}


def strong(model: torch.nn.Module) -> None:
    """Weights far enough from zero that every part of a network shows."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_likeliest_texts_are_those_of_torch(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = LanguageModel(NETWORKS[name](), TOKENS).eval()
    strong(model)
    convert.write(model, tmp_path)

    def texts() -> list[object]:
        greedy = Sampling(temperature=0)
        prompts = ["ab", "abcdefg", "", "c", "hgfe", "dd", "fae", "beef"]
        more = {"max_tokens": 30, "sampling": greedy}
        return [model.generate_batch(prompts, stop=["hh"], **more), "".join(model.generate("abc", **more))]  # type: ignore[arg-type]

    expected = texts()
    model.engine = GeneratorEngine(model, tmp_path)
    assert texts() == expected
    ids = torch.tensor([[1, *TOKENS.encode("fadedbeachfaceabcdefgh")]])
    with torch.no_grad():
        logits = model(ids)[0][0, :-1].index_fill(1, torch.tensor(NEVER), -torch.inf)
    (theirs,) = ctranslate2.Generator(str(tmp_path)).score_batch([[str(i) for i in ids[0].tolist()]])
    ours = logits.log_softmax(-1).gather(1, ids[0, 1:, None]).squeeze(1)
    torch.testing.assert_close(torch.tensor(theirs.log_probs), ours, rtol=0, atol=2e-4)


def test_random_texts_follow_the_settings(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = LanguageModel(Transformer(16, 1, 2, context=8), TOKENS).eval()
    convert.write(model, tmp_path)
    model.engine = GeneratorEngine(model, tmp_path)
    texts = model.generate_batch(["a"] * 20, max_tokens=4, seed=1)
    assert len({text for (text,) in texts}) > 5
    assert {text for (text,) in model.generate_batch(["a"] * 5, max_tokens=4, sampling=Sampling(top_k=1))} == {
        "".join(model.generate("a", max_tokens=4, sampling=Sampling(temperature=0)))
    }
    assert_refused("exceed the 8 positions", list, _lazily(model, max_tokens=9))
    assert_refused("min_p was given", list, _lazily(model, max_tokens=2, sampling=Sampling(min_p=0.1)))
    # CTranslate2 4.8.5 counts none of the prompt's tokens (findings/penalties_begin_after_the_shortest_prompt.sh).
    penalty = Sampling(0.0, repetition_penalty=1.2)
    assert_refused("repetition_penalty=1.2 was given", list, _lazily(model, max_tokens=2, sampling=penalty))


def _lazily(model: LanguageModel, **how: object) -> object:
    return model.generate("a", **how)  # type: ignore[arg-type]


def translator(**decoder: object) -> Translator:
    torch.manual_seed(0)
    made = Translator(
        Transformer(16, 2, 2, context=32, causal=False, norm="rms", eps=1e-6),
        Transformer(16, 2, 2, context=32, memory_size=16, norm="rms", eps=1e-6, **decoder),  # type: ignore[arg-type]
        TOKENS,
    )
    strong(made)
    return made.eval()


def test_translations_are_those_of_torch(tmp_path: Path) -> None:
    """Word for word by greedy search, and with their scores; by beam search the best of all mostly."""
    model = translator(num_kv_heads=1)
    convert.write(model, tmp_path)
    engine = TranslatorEngine(model, tmp_path)
    texts = ["abc", "", "hgfedcba", "aaaa", "dabbed", "face", " "]
    for how in (Beam(size=1), Beam(size=1, max_length=3), Beam(size=1, min_length=4)):
        for ours, theirs in zip(model.translate(texts, how), engine.translations(texts, how), strict=True):
            assert [one.text for one in theirs] == [one.text for one in ours]
            assert [one.complete for one in theirs] == [one.complete for one in ours]
            if not how.min_length:  # with one, it divides by the probability of all tokens but EOS
                ours_of, theirs_of = ([(one.log_probability, one.score) for one in found] for found in (ours, theirs))
                assert theirs_of == [pytest.approx(pair, abs=1e-4) for pair in ours_of]
    best = engine.translations(texts, Beam(size=4, n_best=3))
    assert [len(found) for found in best] == [3, 1, 3, 3, 3, 3, 1]
    exact = model.translate(texts, Beam(size=4, n_best=3))
    assert sum(ours[0].text == theirs[0].text for ours, theirs in zip(exact, best, strict=True)) >= 5


def test_torch_keeps_its_threads(tmp_path: Path) -> None:
    """Each batch of CTranslate2 has one thread, which it would set for torch, too: they share an OpenMP runtime."""
    torch.manual_seed(0)
    encoder, decoder = Transformer(16, 1, 2, context=20, causal=False), Transformer(16, 1, 2, memory_size=16)
    model = Translator(encoder, decoder, TOKENS).eval()
    convert.write(model, tmp_path)
    with threads(3):
        engine = TranslatorEngine(model, tmp_path)
        assert torch.get_num_threads() == 3
        assert len(engine.translations(["abc", "ca"], Beam(2, max_length=3))) == 2
        assert torch.get_num_threads() == 3


def test_small_steps_are_not_shared_by_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside those of torch, threads of CTranslate2 sleep after each step, and waking up takes longer than the step."""
    model = LanguageModel(Transformer(16, 1, 2, context=20), TOKENS)
    size = 4 * sum(weights.numel() for weights in model.parameters())
    with threads(3):
        assert generator_settings(model)["intra_threads"] == 1
        monkeypatch.setattr("seqmodels.interop.ctranslate2.engine.LARGE", size)
        assert generator_settings(model)["intra_threads"] == 3
        assert generator_settings(model, int8=True)["intra_threads"] == 1


def test_what_it_cannot_do_is_refused(tmp_path: Path) -> None:
    model = translator()
    convert.write(model, tmp_path)
    engine = TranslatorEngine(model, tmp_path)
    for how in (Draws(2), Beam(normalization="gnmt"), Beam(coverage_penalty=0.1), Beam(exhaustive=True)):
        assert_refused("CTranslate2 was to translate, and", engine.translations, ["abc"], how)
    assert_refused("no reversed source", convert.check_form, Translator(
        Transformer(16, 1, 2, causal=False), Transformer(16, 1, 2, memory_size=16), TOKENS, reverse=True
    ))  # fmt: skip
