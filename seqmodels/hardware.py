"""What the hardware can do by itself, and how the system is asked for memory."""

import ctypes
import functools
import os

import torch

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
"""Numbers of settings in malloc.h of glibc."""


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


@functools.cache
def has_bf16_lstm() -> bool:
    """Whether torch's LSTM runs in bfloat16 on this CPU: oneDNN's kernel needs AVX-512 or the like, and
    torch asks for the kernel all the same.
    """
    return not torch.backends.mkldnn.is_available() or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())  # type: ignore[no-untyped-call]


@functools.cache
def keep_freed_memory() -> bool:
    """Let the process keep the memory that it frees, so that the next step finds it mapped.

    glibc gives blocks above 32 MiB back at once, and the system maps and clears each page of the next one anew. The
    logits of a large vocabulary are such blocks: a training step of a word model on a CPU takes two thirds of the time
    where memory is kept, and two fifths more of it at the peak. Nothing is changed where the user has set glibc's
    variables, or where the C library is another one.

    Returns:
        Whether memory is kept from now on.
    """
    chosen = [name for name in os.environ if name.startswith("MALLOC_") or name == "GLIBC_TUNABLES"]
    try:
        glibc = bool(os.confstr("CS_GNU_LIBC_VERSION"))
    except (AttributeError, OSError, ValueError):  # no such function, or no such name
        glibc = False
    if chosen or not glibc:
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(M_MMAP_MAX, 0) and mallopt(M_TRIM_THRESHOLD, -1))


def keep_compiled_kernels() -> None:
    """Let oneDNN keep what it compiles for each shape of a product, so that the next epoch finds it.

    Batches of sentences have hundreds of shapes, and its cache has room for 1,024 kernels: without more of it, a
    Transformer in bf16 compiles kernels anew in every training step, which takes a sixth of the time and ever more
    memory. It has to be said before the first product; nothing is changed where the user has.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "16384")
