"""How many rounds there is time for, and whose turn it is where another commit is measured in turn."""

import time
from collections.abc import Callable, Iterator

TOPIC = 300.0
"""Seconds of a topic."""
COMPARISON = 25.0
"""Seconds of the rounds of a comparison, after the first two."""
LEAST = 60.0
"""Seconds that are left to each later topic."""


class Pace:
    """Time for the rounds of comparisons, so that a topic takes minutes whatever the machine.

    Attributes:
        alone: rivals do not run.
        turn: called before each round; waits where another process has its turn.
    """

    def __init__(self) -> None:
        self.alone = False
        self.turn: Callable[[], None] = lambda: None
        self._end = float("inf")

    def begin(self, later: int = 0, left: float = float("inf")) -> None:
        """A topic begins, with some topics after it and so many seconds left for all."""
        self._end = time.perf_counter() + min(TOPIC, max(LEAST, left - LEAST * later))

    def rounds(self, most: int) -> Iterator[int]:
        """Numbers of rounds: two, or one where the topic's time is over, and more while there is time."""
        began, taken = time.perf_counter(), 0.0
        for number in range(most):
            end = time.perf_counter() + taken  # of this round, if it is as long as the last one
            if (number > 0 and end > self._end) or (number > 1 and end > began + COMPARISON):
                return
            self.turn()
            before = time.perf_counter()
            yield number
            taken = time.perf_counter() - before


PACE = Pace()
"""Of this process."""
