"""One vector for each token of a text, with the characters it covers; and what is made of them: words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from searchapp.errors import ModelError


@dataclass(frozen=True)
class TokenVectors:
    """The tokens of ``text`` that were read: ``vectors`` float32 (n, dim), last hidden states, of no unit length.

    ``spans`` int64 (n, 2) are the first and one-past-last character that each token covers. Tokens of one character
    (bytes) share its span; those of template, instruction and tokenizer are not among them.
    """

    vectors: np.ndarray
    spans: np.ndarray
    text: str

    def words(self, spans: Sequence[tuple[int, int]] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Means of the tokens of each word: float32 (words, dim), and which words have a token, bool (words,).

        ``spans`` are the first and one-past-last character of each word, in any order; words may overlap. A token
        belongs to every word of which it covers a character, and one that covers blanks alone to the word that begins
        where they end. A word without a token (cut off, or dropped by the tokenizer) has the zero vector. As in the
        word-level tasks of LLM2Vec (section 4.1), where a word is the mean of its own tokens. Raises ModelError for a
        span that is empty or goes beyond the text.
        """
        asked = np.asarray(spans, dtype=np.int64).reshape(-1, 2)
        bad = np.flatnonzero((asked[:, 0] < 0) | (asked[:, 0] >= asked[:, 1]) | (asked[:, 1] > len(self.text)))
        if len(bad):
            found = tuple(map(int, asked[bad[0]]))
            raise ModelError(
                f"the span {found} of word {bad[0]} (counted from 0) does not lie in a text of {len(self.text)} "
                "characters; expected (first, one past the last) character of it"
            )
        ends = self.spans[:, 1].copy()
        for number, (begin, end) in enumerate(self.spans):
            if self.text[begin:end].isspace():  # belongs to what stands behind the blanks
                ends[number] += len(self.text) - end - len(self.text[end:].lstrip()) + 1
        vectors = np.zeros((len(asked), self.vectors.shape[1]), dtype=np.float32)
        known = np.zeros(len(asked), dtype=bool)
        for number, (begin, end) in enumerate(asked):
            own = np.flatnonzero((self.spans[:, 0] < end) & (ends > begin))
            if len(own):
                vectors[number], known[number] = self.vectors[own].mean(axis=0), True
        return vectors, known
