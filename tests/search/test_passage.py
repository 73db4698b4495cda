"""Passages cover a text's words, and the best one is the one that says what was asked."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from searchapp.index import Analyzer
from searchapp.search.passage import LENGTH, LONGEST, Judge, Snippet, best_passages, sentences, split


@settings(max_examples=150, deadline=None)
@given(st.text(st.sampled_from("ab .!?\n漢。"), max_size=3000))
def test_passages_cover_every_word_once_in_order(text: str) -> None:
    passages = split(text)
    assert "".join("".join(text[p.start : p.end].split()) for p in passages) == "".join(text.split())
    assert all(a.end <= b.start for a, b in zip(passages, passages[1:], strict=False))
    assert all(0 < p.end - p.start <= LONGEST for p in passages)


def test_sentences_are_kept_whole() -> None:
    text = ("Bees make honey in their hives. " * 12).strip()
    passages = split(text)
    assert len(passages) > 1
    assert all(text[p.start : p.end].endswith(".") and p.end - p.start <= LENGTH for p in passages)


class WordEncoder:
    """Embeds by words shared with the query: the truth is plain to see."""

    def encode_queries(self, texts):
        return self.encode_documents(texts)

    def encode_documents(self, texts):
        import numpy as np

        vectors = np.zeros((len(texts), 997), dtype=np.float32)
        for row, text in zip(vectors, texts, strict=True):
            for word in text.lower().replace(".", "").split():
                row[sum(map(ord, word)) % 997] += 1
        return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1)


def test_the_best_passage_is_chosen_for_each_text() -> None:
    filler = "Nothing of interest stands in this sentence whatever one looks for. " * 6
    texts = [filler + "Bees dance to tell where flowers are." + " " + filler, "short text", "Bees dance. " + filler]
    chosen = best_passages(WordEncoder(), "where do bees dance", texts)
    assert ["Bees dance" in text[p.start : p.end] for text, p in zip(texts, chosen, strict=True)] == [True, False, True]
    assert texts[1][chosen[1].start : chosen[1].end] == "short text"


class Constant:
    """Finds every text equally close."""

    def encode_queries(self, texts):
        import numpy as np

        return np.ones((len(texts), 1), dtype=np.float32)

    encode_documents = encode_queries


def test_words_decide_between_parts_that_are_equally_close() -> None:
    text = "Wax is made. It rains. The bees were dancing. Bees sleep."
    parts = sentences(text, Snippet(0, len(text)))
    (found,) = Judge(Constant(), Analyzer(), "why do bees dance").best([text], [parts])
    assert text[found.start : found.end] == "The bees were dancing."
    assert Judge(None, Analyzer(), "why do bees dance").best([text], [parts]) == [found], "without a model"
    (first,) = Judge(Constant(), Analyzer(), "the of").best([text], [parts])
    assert first == parts[0]


@settings(max_examples=100, deadline=None)
@given(st.text(st.sampled_from("ab .!?\n漢。"), max_size=300))
def test_sentences_cover_a_passage(text: str) -> None:
    for passage in split(text):
        found = sentences(text, passage)
        joined = "".join("".join(text[p.start : p.end].split()) for p in found)
        assert joined == "".join(text[passage.start : passage.end].split())
        assert all(passage.start <= p.start < p.end <= passage.end for p in found)


def test_only_parts_with_nearly_the_best_share_of_the_words_are_encoded() -> None:
    encoded: list[str] = []

    class Noting(Constant):
        def encode_documents(self, texts):
            encoded.extend(texts)
            return self.encode_queries(texts)

    text = "Bees dance. It rains. Bees dance well. Bees sleep."
    parts = sentences(text, Snippet(0, len(text)))
    (found,) = Judge(Noting(), Analyzer(), "bees dance").best([text], [parts])
    assert encoded == ["Bees dance.", "Bees dance well."] and found == parts[0]
    assert Judge(Noting(), Analyzer(), "rain").best([text], [parts]) == [parts[1]] and len(encoded) == 2
