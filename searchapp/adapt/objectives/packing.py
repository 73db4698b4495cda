"""Documents laid end to end and cut into blocks, with the borders kept so that attention need not cross them.

The tokens of a corpus are written to one file and memory-mapped: 4 bytes a token, however many there are.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from searchapp.errors import AdaptError

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Packed:
    """``tokens`` int32 (total,) in the order of the documents; ``starts`` int64, where each document begins."""

    tokens: np.ndarray
    starts: np.ndarray
    block: int

    @property
    def blocks(self) -> int:
        """Whole blocks; what is left over at the end is dropped, as in the original."""
        return len(self.tokens) // self.block

    def read(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Token ids int64 (n, block) and the number of the document each belongs to, int64 (n, block)."""
        positions = numbers[:, None] * self.block + np.arange(self.block)[None, :]
        documents = np.searchsorted(self.starts, positions, side="right") - 1
        return self.tokens[positions].astype(np.int64), documents


def pack(documents: Iterable[np.ndarray], block: int, folder: Path) -> Packed:
    """Write the token ids of documents to ``folder`` and open them as blocks of ``block`` tokens.

    Documents without a token are left out. Raises AdaptError when there is not one whole block.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path, sizes = folder / "tokens.bin", array("q")
    with path.open("wb") as file:
        for ids in documents:
            if len(ids):
                sizes.append(len(ids))
                file.write(np.ascontiguousarray(ids, dtype=np.int32).tobytes())
    total = sum(sizes)
    if total < block:
        raise AdaptError(
            f"the text has {total:,} tokens, which is less than one block of {block}; give more text or a smaller "
            "max_length"
        )
    starts = np.cumsum(np.frombuffer(sizes, dtype=np.int64)) - np.frombuffer(sizes, dtype=np.int64)
    return Packed(np.memmap(path, dtype=np.int32, mode="r", shape=(total,)), starts, block)


def attention_mask(documents: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Additive mask (n, 1, length, length): 0 between tokens of one document, the least number of dtype elsewhere.

    ``documents`` (n, length) numbers the document of each token. A block of six tokens from three documents, where x
    is "may attend" and . is "may not"::

        documents  0 0 0 1 1 2
        token 0    x x x . . .
        token 1    x x x . . .
        token 2    x x x . . .
        token 3    . . . x x .
        token 4    . . . x x .
        token 5    . . . . . x

    transformers passes a mask of four dimensions on as it is, to eager and to sdpa, in every kind of layer.
    """
    import torch

    together = documents[:, None, :, None] == documents[:, None, None, :]
    return torch.zeros(together.shape, dtype=dtype, device=documents.device).masked_fill(
        ~together, torch.finfo(dtype).min
    )


def positions(documents: torch.Tensor) -> torch.Tensor:
    """Position of each token within its document's part of the block, int64 (n, length)."""
    import torch

    place = torch.arange(documents.shape[1], device=documents.device).expand_as(documents)
    border = torch.ones_like(documents, dtype=torch.bool)
    border[:, 1:] = documents[:, 1:] != documents[:, :-1]
    return place - torch.where(border, place, 0).cummax(1).values
