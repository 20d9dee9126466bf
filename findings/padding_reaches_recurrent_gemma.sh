#!/usr/bin/env bash
# transformers 5.24.0 with torch 2.13.0 (Python 3.11), CPU, no kernels installed
#
# Guess: a prompt that is padded on the left, with its attention mask, is continued as it is alone, since that is how
# texts of unequal length are generated together.
#
# Seen: it holds for hybrids of attention with convolutions or Mamba-2 (Lfm2, FalconH1), and for Mamba-2 alone. In
# RecurrentGemma the mask reaches the attention layers only: its recurrent layers read the padding, and logits of the
# prompt differ by as much as the logits themselves. Padding on the right, which nothing reads, changes nothing.
#
# Output seen (largest difference of logits from those of the prompt alone, of random models):
#   Mamba2: left equal, right equal, same greedy text
#   Lfm2: left equal, right equal, same greedy text
#   FalconH1: left equal, right equal, same greedy text
#   RecurrentGemma: left differs, right equal, another greedy text
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 transformers==5.24.0 numpy
cd "$folder"
venv/bin/python - <<'PYTHON'
import torch
import transformers

transformers.utils.logging.set_verbosity_error()
KINDS = {
    "Mamba2": {"num_heads": 4, "head_dim": 16, "n_groups": 1, "state_size": 8},
    "Lfm2": {"num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 32},
    "FalconH1": {
        "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 32, "mamba_d_ssm": 32,
        "mamba_n_heads": 4, "mamba_d_head": 8, "mamba_d_state": 8, "mamba_expand": 1,
    },
    "RecurrentGemma": {
        "num_attention_heads": 4, "head_dim": 8, "lru_width": 32, "block_types": ("recurrent", "recurrent", "attention")
    },
}
found = {}
for name, settings in KINDS.items():
    torch.manual_seed(0)
    config = getattr(transformers, f"{name}Config")(
        vocab_size=50, hidden_size=32, num_hidden_layers=3, pad_token_id=0, **settings
    )
    model = getattr(transformers, f"{name}ForCausalLM")(config).eval()
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    ids, padding = torch.randint(1, 50, (1, 8)), torch.zeros(1, 5, dtype=torch.long)
    left, right = torch.cat((padding, ids), 1), torch.cat((ids, padding), 1)
    more = {"max_new_tokens": 6, "do_sample": False, "eos_token_id": None}
    with torch.no_grad():
        alone = model(ids).logits
        from_left = model(left, attention_mask=(left != 0).long()).logits[:, 5:]
        from_right = model(right, attention_mask=(right != 0).long()).logits[:, :8]
        text = model.generate(ids, attention_mask=torch.ones_like(ids), **more)[:, 8:]
        other = model.generate(left, attention_mask=(left != 0).long(), **more)[:, 13:]
    same = [bool((logits - alone).abs().max() < 1e-3) for logits in (from_left, from_right)]
    found[name] = *same, torch.equal(text, other)
    print(
        f"{name}: left {'equal' if same[0] else 'differs'}, right {'equal' if same[1] else 'differs'}, "
        f"{'same' if found[name][2] else 'another'} greedy text"
    )
assert found == {name: (name != "RecurrentGemma", True, name != "RecurrentGemma") for name in KINDS}
PYTHON
