"""How many rounds there is time for, and whose turn it is where another commit is measured in turn."""

import time
from collections.abc import Callable, Iterator

TOPIC = 300.0
"""Seconds of a topic, at most."""
COMPARISON = 25.0
"""Seconds of the rounds of a comparison, after the first two."""


class Pace:
    """Time for the rounds of comparisons, so that a topic takes minutes whatever the machine.

    Attributes:
        alone: rivals do not run.
        turn: called before each round; waits where another process has its turn.
        spared: seconds of all rounds of this topic but the first ones, without which it would have been shorter.
    """

    def __init__(self) -> None:
        self.alone = False
        self.turn: Callable[[], None] = lambda: None
        self.spared = 0.0
        self._end = float("inf")

    def begin(self, seconds: float = TOPIC) -> None:
        """A topic of so many seconds begins."""
        self._end, self.spared = time.perf_counter() + seconds, 0.0

    def rounds(self, most: int, lines: int = 1, settled: Callable[[], bool] = lambda: False) -> Iterator[int]:
        """Numbers of rounds: two, or one where the topic's time is over, and more while there is time.

        Args:
            most: number of rounds at most.
            lines: of the table, for which a round is.
            settled: whether more rounds than so far would change nothing.
        """
        began, taken = time.perf_counter(), 0.0
        for number in range(most):
            end = time.perf_counter() + taken  # of this round, if it is as long as the last one
            if number > 0 and end > self._end:
                return
            if number > 1 and (end > began + lines * COMPARISON or settled()):
                return
            self.turn()
            before = time.perf_counter()
            yield number
            taken = time.perf_counter() - before
            self.spared += taken * (number > 0)


PACE = Pace()
"""Of this process."""
