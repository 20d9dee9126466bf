"""Files of word vectors, byte by byte."""

import struct
from pathlib import Path

import torch
from torch import Tensor


def numbers(row: Tensor) -> bytes:
    return struct.pack(f"<{len(row)}f", *row.tolist())


def as_text(words: list[str], matrix: Tensor, header: bool, end: str = "\n") -> bytes:
    lines = [f"{word} {' '.join(str(x) for x in row)}{end}" for word, row in zip(words, matrix.tolist(), strict=True)]
    return (f"{len(words)} {matrix.shape[1]}\n" * header + "".join(lines)).encode()


def as_binary(words: list[str], matrix: Tensor, end: bytes = b"\n") -> bytes:
    rows = [w.encode() + b" " + numbers(row) + end for w, row in zip(words, matrix, strict=True)]
    return f"{len(words)} {matrix.shape[1]}\n".encode() + b"".join(rows)


def as_fasttext(
    words: list[str], own: Tensor, parts: Tensor, shortest: int, longest: int, labels: int = 0,
    floret: tuple[int, ...] = (), kept: dict[int, int] | None = None, matrix: bytes | None = None, **other: int,
) -> bytes:  # fmt: skip
    """A model as fastText 0.9 writes it, version 12, up to its input vectors; `floret` is mode and number of hashes."""
    given = {"magic": 793712314, "version": 12, "quantised": 0, "rows": len(own) + len(parts), "model": 2} | other
    pruned, buckets = given.get("pruned", -1 if kept is None else len(kept)), given.get("buckets", len(parts))
    settings = [own.shape[1], 5, 1, 1, 5, 1, 2, given["model"], buckets, shortest, longest, *floret, 100]
    found = struct.pack(f"<ii{len(settings)}id", given["magic"], given["version"], *settings, 1e-4)
    found += struct.pack("<iiiqq", len(words) + labels, len(words), labels, 1000, pruned)
    for word in words:
        found += word.encode() + b"\0" + struct.pack("<qb", 3, 0)
    for label in range(labels):
        found += f"__label__{label}".encode() + b"\0" + struct.pack("<qb", 3, 1)
    found += b"".join(struct.pack("<ii", *pair) for pair in (kept or {}).items())
    dense = struct.pack("<qq", given["rows"], own.shape[1]) + b"".join(numbers(row) for row in [*own, *parts])
    return found + struct.pack("<?", matrix is not None or given["quantised"]) + (matrix or dense) + bytes(17)


def as_quantised(rows: Tensor, wide: int, norms: bool) -> bytes:
    """A matrix in which each part of `wide` numbers, and each norm, has its own place among 256 centroids."""

    def quantised(rows: Tensor, wide: int) -> tuple[bytes, bytes]:
        parts = torch.split(rows, wide, 1)
        centroids = b"".join(
            numbers(torch.cat([part, torch.zeros(256 - len(part), part.shape[1])]).flatten()) for part in parts
        )
        codes = bytes(number for number in range(len(rows)) for _ in parts)
        return codes, struct.pack("<4i", rows.shape[1], len(parts), wide, parts[-1].shape[1]) + centroids

    sizes = rows.norm(dim=1, keepdim=True)
    codes, centroids = quantised(rows / sizes if norms else rows, wide)
    found = struct.pack("<?qqi", norms, *rows.shape, len(codes)) + codes + centroids
    return found + (b"".join(quantised(sizes, 1)) if norms else b"")


def written(folder: Path, content: bytes, name: str = "vectors") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path
