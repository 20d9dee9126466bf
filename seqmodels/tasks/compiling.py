"""Parts of a training step that are compiled."""

from seqmodels.errors import InputError
from seqmodels.nn.prenorm import PreNormStack
from seqmodels.tasks.base import SequenceTask


def compile_steps(task: SequenceTask) -> None:
    """Compile what gains by it where a model learns: layers of attention, and what is done to many logits.

    Raises:
        InputError: there are no such layers; the kernels of recurrent ones are as fast as they get.
    """
    stacks = [part for part in task.modules() if isinstance(part, PreNormStack)]
    if not stacks:
        raise InputError(f"compile was given, and {task.name} has no layers of attention to compile; leave it out")
    for stack in stacks:
        stack.compiled = True
    task.compiled = True
