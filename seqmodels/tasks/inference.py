"""A trained model for use: on a GPU where there is one, in bfloat16 or 8-bit weights where asked for."""

import torch

from seqmodels.environment import choose_accelerator
from seqmodels.errors import InputError
from seqmodels.nn.quantization import to_int8
from seqmodels.tasks import SequenceTask


def for_use(task: SequenceTask, *, bf16: bool = False, int8: bool = False) -> SequenceTask:
    """Prepare a model for generation or translation, on a GPU where there is one.

    Args:
        task: the model, changed in place.
        bf16: weights in bfloat16.
        int8: 8-bit weights in its larger linear layers, on the CPU.

    Raises:
        InputError: both are asked for, or the model gains nothing by eight bits.
    """
    if bf16 and int8:
        raise InputError("--bf16 and --int8 were both given; expected one of them")
    if int8:
        to_int8(task)
        return task
    device = "cuda" if choose_accelerator("auto", 1) == "gpu" else "cpu"
    return task.to(device, torch.bfloat16 if bf16 else None)
