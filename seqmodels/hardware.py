"""What the hardware can do by itself."""

import functools

import torch


@functools.cache
def multiplies_bf16(device: str) -> bool:
    """Whether matrices are multiplied in bfloat16 by the hardware rather than in an emulation.

    Args:
        device: cpu or cuda.
    """
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    able = torch.cpu.get_capabilities()
    return any(able.get(name, False) for name in ("avx512_bf16", "amx_bf16", "arm_bf16"))
