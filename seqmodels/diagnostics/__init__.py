"""Looking at a model while it learns; nothing here changes what it learns."""

from seqmodels.diagnostics.samples import Samples

__all__ = ["Samples"]
