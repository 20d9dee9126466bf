"""Parts of a training step that are compiled."""

from seqmodels.errors import InputError
from seqmodels.nn.prenorm import PreNormStack
from seqmodels.tasks.base import SequenceTask

MANY = 4096
"""Tokens of a vocabulary whose logits take a time that is worth compiling for."""


def compile_steps(task: SequenceTask) -> None:
    """Compile what gains by it where a model learns: layers of attention, and what is done to many logits.

    Raises:
        InputError: there is neither; the kernels of recurrent layers are as fast as they get.
    """
    stacks = [part for part in task.modules() if isinstance(part, PreNormStack)]
    if not stacks and task.tokenizer.vocab_size < MANY:
        raise InputError(
            f"compile was given, and {task.name} has neither layers of attention nor {MANY:,} tokens to predict: there "
            "is nothing to gain; leave it out"
        )
    for stack in stacks:
        stack.compiled = True
    task.compiled = True
