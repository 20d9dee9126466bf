"""The command `seqmodels cache`."""

from seqmodels.data.cache import cache_bytes, cache_folder, trim_cache


def cache(clear: bool = False) -> None:
    """Say where texts are kept that were read and tokenized, and how large that folder is. It has at most 20 GB, or as
    many as the environment variable SEQMODELS_CACHE_GB says; what was not used for longest is removed first.

    Args:
        clear: remove all of it; texts are then read again.
    """
    print(f"folder  {cache_folder()}")
    if clear:
        print(f"removed {trim_cache(0) / 1e9:,.2f} GB")
    print(f"size    {cache_bytes() / 1e9:,.2f} GB")
