"""The base of models in use: networks and vocabularies, with the settings of their training, and without a trainer."""

import math
from abc import ABC, abstractmethod
from typing import get_args

import torch
from torch import Tensor, nn

from seqmodels.batch import Batch
from seqmodels.config import Recorded, class_path
from seqmodels.data.tokenizers import Tokenizer
from seqmodels.errors import InputError
from seqmodels.state import State
from seqmodels.tasks.optim import OptimizerName, Schedule


def check_fractions(**given: float) -> None:
    """Refuse probabilities and other fractions outside [0, 1)."""
    for name, value in given.items():
        if not 0 <= value < 1:
            raise InputError(f"{name}={value} was given; expected a fraction in [0, 1)")


def check_weights(**given: float) -> None:
    """Refuse weights of penalties that are below 0 or infinite."""
    for name, value in given.items():
        if not 0 <= value < math.inf:
            raise InputError(f"{name}={value} was given; expected a weight of at least 0")


class SequenceModel(Recorded, nn.Module, ABC):
    """What can be asked of a trained model: a plain module of torch, which a `SequenceTask` makes one of Lightning.

    Programs that only use models load this part of them: Lightning, which takes longer to import than all else, stays
    out. For the arguments see `SequenceTask`.
    """

    __repr__ = nn.Module.__repr__
    """The tree of modules, as of any model of torch, each network in a line."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        optimizer: OptimizerName,
        lr: float,
        weight_decay: float,
        beta2: float,
        warmup: float,
        schedule: Schedule,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        if not 0 < lr < math.inf:
            raise InputError(f"lr={lr} was given; expected lr above 0")
        check_fractions(beta2=beta2, warmup=warmup, label_smoothing=label_smoothing)
        check_weights(weight_decay=weight_decay)
        for kind, name, known in (("optimizer", optimizer, OptimizerName), ("schedule", schedule, Schedule)):
            if name not in get_args(known):
                raise InputError(f"the {kind} {name!r} is not known; choose one of {', '.join(get_args(known))}")
        if schedule == "inverse-sqrt" and warmup == 0:
            raise InputError("the schedule inverse-sqrt falls from the end of the warmup on; give a warmup above 0")
        self.tokenizer, self.optimizer, self.schedule = tokenizer, optimizer, schedule
        self.lr, self.weight_decay, self.beta2, self.warmup = lr, weight_decay, beta2, warmup
        self.label_smoothing = label_smoothing
        self.longest_target = 0
        """Most tokens of the targets that it was trained on, where the data say so: a translation may be as long."""
        self.frozen: list[str] = []
        """Names of the parameters that are not trained."""
        self.loaded_from: str | None = None
        """The run, folder or checkpoint that it was loaded from, if it was."""

    identity: tuple[str, ...]
    """Arguments that must not change when a run resumes."""
    command: str
    """The subcommand that uses a trained model."""

    @property
    def learns(self) -> bool:
        """Whether it learns by gradients; else it counts the training text, all at once."""
        return True

    @property
    def lr(self) -> float:
        """Peak learning rate; one that is set later, as by Lightning's learning rate finder, is recorded, too."""
        return self._lr

    @lr.setter
    def lr(self, lr: float) -> None:
        self._lr = lr
        if "lr" in self.constructor_call["init_args"]:
            self.constructor_call["init_args"]["lr"] = lr

    @abstractmethod
    def forward(self, batch: Batch, state: State | None = None) -> tuple[Tensor, State]:
        """Logits (B, T, V) for the targets of a batch, and the state after it."""

    @property
    @abstractmethod
    def network(self) -> nn.Module:
        """The part whose matrices Muon updates: neither embedding nor output layer."""

    @property
    @abstractmethod
    def name(self) -> str:
        """Name of the network: its class, or several."""

    @property
    def kind(self) -> str:
        """The name of the task: LanguageModel, Translator, or a class of the user's own."""
        return class_path(type(self)).rpartition(".")[2]

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return next(self.parameters()).device
