"""The topics by name, in the order in which they run."""

from benchmarks import (
    batches,
    beam,
    cells,
    diagnostics,
    engines,
    gpu,
    loading,
    memories,
    recompute,
    safety,
    sampling,
    scale,
    start,
    trainer,
    translation,
)  # fmt: skip
from benchmarks.measure import Topic

ON_CPU = (
    trainer, recompute, batches, cells, memories, sampling, engines, translation, beam, diagnostics, safety, loading,
    scale, start,
)  # fmt: skip
TOPICS: dict[str, Topic] = {topic.__name__.rpartition(".")[2]: topic.run for topic in (*ON_CPU, gpu)}
