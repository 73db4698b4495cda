"""How much of each word a frozen model's states hold: a linear layer learns to read chunks, names or word classes.

The word-level probing of the LLM2Vec paper (section 3.1, appendix D.1.3), with two differences: the dropout before
the layer is off when it is scored (the original leaves it on), and beside accuracy there is the F1 of whole entities.
Every word is encoded once; its vectors lie in a temporary file, from which the layer is trained in seconds.
"""

from __future__ import annotations

import gzip
import importlib
import re
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from searchapp.encoder import Encoder
from searchapp.encoder.batching import plan
from searchapp.encoder.encoder import BUDGET
from searchapp.errors import AdaptError, ModelError

if TYPE_CHECKING:
    import torch

TASKS = {"chunking": 3, "ner": 4, "pos": 2}  # the column of the label, counted from 1, in CoNLL 2000 and 2003 and UD
SPANS = ("chunking", "ner")  # labels of these mark where an entity begins and goes on
SPLITS = {"train": ("train",), "dev": ("dev", "valid", "validation", "testa"), "test": ("test", "testb")}
WINDOW = 1_024  # sentences that are tokenised, sorted and held together
RESAMPLES, LEVEL = 2_000, 0.95
ROWS = 16_384  # words that are labelled together

Progress = Callable[[str, int, int], None]  # (stage, done, of)


@dataclass(frozen=True, slots=True)
class Sentence:
    """Words and their labels, one label a word."""

    words: tuple[str, ...]
    labels: tuple[str, ...]


@dataclass(frozen=True)
class ProbeData:
    """The sentences of a ``task``, read from ``column`` (from 1): those to learn from, those of ``split`` to score."""

    task: str
    name: str
    split: str
    column: int
    train: list[Sentence]
    scored: list[Sentence]


@dataclass(frozen=True)
class Training:
    """How the linear layer is trained; the defaults are the paper's (appendix D.1.3).

    ``batch`` counts sentences, ``rate`` is the constant learning rate of AdamW (no weight decay), ``dropout`` acts on
    the word vectors. ``seeds`` layers are trained, with ``seed``, ``seed + 1`` and so on. They suit some thousand
    dimensions: a layer on a few hundred is far from fitted by then, and wants a higher rate. Raises AdaptError.
    """

    steps: int = 1_500
    batch: int = 8
    rate: float = 5e-4
    dropout: float = 0.1
    seed: int = 0
    seeds: int = 1

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "seeds"):
            if getattr(self, name) < 1:
                raise AdaptError(f"{name} is {getattr(self, name)}; expected 1 or more")
        if not 0 < self.rate < float("inf") or not 0 <= self.dropout < 1 or self.seed < 0:
            raise AdaptError(
                f"the learning rate is {self.rate}, dropout {self.dropout}, seed {self.seed}; expected a rate above 0, "
                "dropout in [0, 1) and a seed of 0 or more"
            )


@dataclass(frozen=True)
class WordVectors:
    """``vectors`` float16 (words, dim), zero where ``known`` (words,) is false; ``cut`` sentences were too long."""

    vectors: np.ndarray
    known: np.ndarray
    cut: int


@dataclass(frozen=True)
class Score:
    """Mean over the seeds with its 95 % bootstrap interval over sentences; ``deviation`` (sample) is over the seeds."""

    value: float
    low: float
    high: float
    deviation: float | None
    per_seed: tuple[float, ...]


@dataclass(frozen=True)
class ProbeResult:
    """``setting`` says all that decides the ``scores`` (accuracy, F1 for spans), and what could not be read."""

    setting: dict[str, Any]
    scores: dict[str, Score]

    def to_json(self) -> dict[str, Any]:
        """The object that ``--json`` prints for it."""
        return {"setting": self.setting, "metrics": {name: asdict(score) for name, score in self.scores.items()}}


def read_task(folder: Path, task: str, *, split: str = "test", column: int | None = None) -> ProbeData:
    """Read the training split of a folder and the one to score.

    ``column`` (from 1) is where the labels are, if not where ``TASKS`` says. Raises AdaptError for an unknown task,
    files that are missing or damaged, and where seqeval is needed and not installed.
    """
    if task not in TASKS:
        raise AdaptError(f"task {task!r} is unknown; expected one of {', '.join(TASKS)}")
    spans = task in SPANS
    if spans:
        _entities()
    place = TASKS[task] if column is None else column
    train, scored = (read_columns(find_split(folder, name), place, spans=spans) for name in ("train", split))
    return ProbeData(task, folder.resolve().name, split, place, train, scored)


def probe(
    encoder: Encoder,
    data: ProbeData,
    *,
    shift: bool = False,
    training: Training | None = None,
    progress: Progress | None = None,
) -> ProbeResult:
    """Train a linear layer on the words of the training sentences, and score it on the others.

    For ``shift`` see ``word_vectors``. A word without a vector is not trained on, and is labelled by the layer's bias
    alone; a label that training has not shown counts as an error. Both are counted in the setting. Raises AdaptError,
    and ModelError for an encoder that passes for causal and is not.
    """
    training = training or Training()
    _refuse_bidirectional(encoder)
    learnt, scored, split = data.train, data.scored, data.split
    classes = sorted({label for sentence in learnt for label in sentence.labels})
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="searchapp-") as work:
        words = [
            word_vectors(encoder, [item.words for item in sentences], Path(work) / name, shift=shift, progress=progress)
            for name, sentences in (("training words", learnt), (f"{split} words", scored))
        ]
        encoded = time.perf_counter()
        answers = []
        for seed in range(training.seed, training.seed + training.seeds):
            layer = train_layer(words[0], learnt, classes, training, seed, progress=progress)
            answers.append([classes[number] for number in label_words(layer, words[1].vectors)])
    finished = time.perf_counter()
    frequent = Counter(label for sentence in learnt for label in sentence.labels).most_common(1)[0][0]
    gold = Counter(label for sentence in scored for label in sentence.labels)
    setting = {
        "task": data.task, "data": data.name, "split": split, "column": data.column,
        "model": encoder.reference["model"], "adapters": encoder.reference["adapters"],
        "fingerprint": encoder.fingerprint["sha256"], "bidirectional": encoder.settings.bidirectional, "shift": shift,
        **asdict(training),
        "train_sentences": len(learnt), "train_words": len(words[0].known),
        "sentences": len(scored), "words": len(words[1].known), "labels": len(classes),
        "majority_accuracy": gold[frequent] / gold.total(),
        "train_sentences_cut": words[0].cut, "sentences_cut": words[1].cut,
        "train_words_without_vector": int((~words[0].known).sum()),
        "words_without_vector": int((~words[1].known).sum()),
        "unseen_labels": {label: count for label, count in sorted(gold.items()) if label not in classes},
        "encoding_seconds": encoded - began, "training_seconds": finished - encoded,
    }  # fmt: skip
    return ProbeResult(setting, score_labels(scored, answers, spans=data.task in SPANS))


def _refuse_bidirectional(encoder: Encoder) -> None:
    """Raise ModelError when an encoder that was loaded as causal sees what follows: no baseline must be mislabelled."""
    from searchapp.encoder.bidirectional import find_leak

    config = encoder.model.config
    if not encoder.settings.bidirectional and not find_leak(
        encoder.model, vocabulary=config.vocab_size, pad=config.pad_token_id or 0
    ):
        raise ModelError(
            f"{encoder.checkpoint.name} was to be causal and still sees what follows: its config.json has is_causal "
            "false; measure the model it was made from, or a copy without that entry"
        )


def find_split(folder: Path, split: str) -> Path:
    """Return the one file of a folder whose name has the split as a word, as in train.txt.gz; AdaptError if not one."""
    if not folder.is_dir():
        raise AdaptError(f"{folder} is no folder; expected one with a file for each split, such as train.txt, test.txt")
    names = sorted(item.name for item in folder.iterdir() if item.is_file() and not item.name.startswith("."))
    wanted = set(SPLITS.get(split, (split,)))
    found = [name for name in names if wanted & set(re.split(r"[^a-z0-9]+", name.lower()))]
    if len(found) != 1:
        held = ", ".join(found or names[:8]) or "no file"
        raise AdaptError(
            f"{folder} has {len(found)} files for the split {split!r} ({held}); expected one, such as {split}.txt or "
            f"{split}.txt.gz"
        )
    return folder / found[0]


def read_columns(path: Path, column: int, *, spans: bool = False) -> list[Sentence]:
    """Read a CoNLL column file: a word a line, blank lines between sentences, columns apart by tabs or else blanks.

    The first column is the word, ``column`` (from 1) its label. With ``spans``, labels are brought from IOB1 to IOB2,
    which leaves IOB2 as it is. ``-DOCSTART-`` lines are dropped. Raises AdaptError with file and line.
    """
    if column < 2:
        raise AdaptError(f"the label column is {column}; expected 2 or more, since column 1 is the word")
    sentences: list[Sentence] = []
    words: list[str] = []
    labels: list[str] = []
    width = 0
    for number, cells in _lines(path):
        if cells and (len(cells) != (width := width or len(cells)) or not all(cells)):
            raise AdaptError(
                f"{path}, line {number}: {sum(map(bool, cells))} columns; expected {width} as in the first line; mend "
                "the file"
            )
        if cells and width < column:
            raise AdaptError(
                f"{path} has {width} columns; expected the labels in column {column}; name another one with --column"
            )
        if cells and spans and not re.fullmatch(r"O|[BI]-.+", cells[column - 1]):
            raise AdaptError(
                f"{path}, line {number}: label {cells[column - 1]!r}; expected O, B-… or I-… in column {column}; name "
                "another one with --column"
            )
        if cells and cells[0] != "-DOCSTART-":
            words.append(cells[0])
            labels.append(cells[column - 1])
        elif words:
            sentences.append(Sentence(tuple(words), tuple(to_iob2(labels) if spans else labels)))
            words, labels = [], []
    if not sentences:
        raise AdaptError(f"{path} has no sentence; expected a word and its label on each line")
    return sentences


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield line numbers and cells, none for a blank line, and a blank one at the end."""
    number = 0
    try:
        with (
            gzip.open(path, "rt", encoding="utf-8-sig")
            if path.suffix == ".gz"
            else path.open(encoding="utf-8-sig") as lines
        ):
            for number, line in enumerate(lines, 1):
                text = line.strip(" \r\n")
                yield number, [] if not text.strip() else text.split("\t") if "\t" in text else re.split(" +", text)
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise AdaptError(
            f"{path} cannot be read: {error}; expected text in UTF-8, plain or compressed by gzip"
        ) from error
    yield number + 1, []


def to_iob2(labels: Sequence[str]) -> list[str]:
    """Bring one sentence's labels from IOB1, where I- may begin an entity, to IOB2, where B- always does.

    As in Tjong Kim Sang & Veenstra 1999: I-X that does not follow B-X or I-X begins an entity.
    """
    before = ["O", *labels[:-1]]
    return [
        f"B-{label[2:]}" if label.startswith("I-") and (last == "O" or last[2:] != label[2:]) else label
        for label, last in zip(labels, before, strict=True)
    ]


def align(words: Sequence[str], offsets: Sequence[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    """Return which tokens belong to which words of ``" ".join(words)``: two int64 arrays (pairs,), token and word.

    ``offsets`` are the characters each token covers. A token belongs to every word of which it covers a character, one
    that covers a blank only to the word behind it, and one that covers nothing (BOS) to none.
    """
    lengths = np.array([len(word) for word in words])
    ends = np.cumsum(lengths + 1) - 1
    spans = np.array(offsets, dtype=np.int64).reshape(-1, 2)
    first = np.searchsorted(ends, spans[:, 0], side="right")
    last = np.maximum(np.searchsorted(ends - lengths, spans[:, 1], side="left") - 1, first)
    last = np.minimum(last, len(words) - 1)
    counts = np.where(spans[:, 1] > spans[:, 0], last - first + 1, 0)
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.repeat(np.arange(len(spans)), counts), np.repeat(first, counts) + within


def word_vectors(
    encoder: Encoder,
    sentences: Sequence[Sequence[str]],
    path: Path,
    *,
    shift: bool = False,
    progress: Progress | None = None,
) -> WordVectors:
    """Write every word's vector to ``path``: the mean of the last hidden states at its own tokens.

    With ``shift`` the states one token earlier, which predict its tokens: how MNTP trains a model, and how the paper
    reads one so trained. A sentence is its words joined by blanks, tokenised as the tokenizer does it (with BOS where
    it adds one), without template; what exceeds the model's positions is cut off. A word that is left without a state
    (cut off, dropped by the tokenizer, or the first token with ``shift``) has the zero vector. Memory is bounded by
    ``WINDOW`` sentences. Raises ModelError for values that float16 cannot hold.
    """
    known: list[np.ndarray] = []
    cut = done = 0
    with path.open("wb") as file:
        for begin in range(0, len(sentences), WINDOW):
            window = sentences[begin : begin + WINDOW]
            vectors, read, shortened = _read_window(encoder, window, shift)
            vectors.tofile(file)
            known.append(read)
            cut += shortened
            done += len(window)
            if progress is not None:
                progress(path.name, done, len(sentences))
    every = np.concatenate(known)
    return WordVectors(np.memmap(path, np.float16, "r", shape=(len(every), encoder.dim)), every, cut)


def _read_window(
    encoder: Encoder, sentences: Sequence[Sequence[str]], shift: bool
) -> tuple[np.ndarray, np.ndarray, int]:
    """Vectors float16 (words, dim), which words have one, and how many sentences were cut."""
    positions = getattr(encoder.model.config, "max_position_embeddings", None)
    encodings = encoder.tokenizer.backend_tokenizer.encode_batch([" ".join(words) for words in sentences])
    ids = [np.array(encoding.ids[:positions], dtype=np.int64) for encoding in encodings]
    begins = np.cumsum([0, *map(len, sentences)])
    vectors = np.zeros((begins[-1], encoder.dim), dtype=np.float16)
    known = np.zeros(begins[-1], dtype=bool)
    lengths = [len(tokens) for tokens in ids]
    for chosen in plan(lengths, BUDGET[encoder.device]):
        if not lengths[chosen[0]]:  # sorted by length: only empty ones are left
            break
        width = lengths[chosen[0]]
        places, owners = [], []
        for row, number in enumerate(chosen):
            tokens, words = align(sentences[number], encodings[number].offsets[: lengths[number]])
            at = tokens - 1 if shift else tokens
            places.append(row * width + at[at >= 0])
            owners.append(begins[number] + words[at >= 0])
        owner = np.concatenate(owners)
        order = np.argsort(owner, kind="stable")
        found, starts, counts = np.unique(owner[order], return_index=True, return_counts=True)
        if not len(found):
            continue
        states = _states(encoder, [ids[number] for number in chosen], np.concatenate(places)[order])
        with np.errstate(over="ignore"):  # found out below
            vectors[found] = np.add.reduceat(states, starts, axis=0) / counts[:, None]
        known[found] = True
    if not np.isfinite(vectors).all():
        raise ModelError(
            f"{encoder.checkpoint.name} gives values in {encoder.dtype} that are not finite or too large for float16; "
            "use float32, or another model"
        )
    return vectors, known, sum(len(encoding.ids) > length for encoding, length in zip(encodings, lengths, strict=True))


def _states(encoder: Encoder, sequences: Sequence[np.ndarray], places: np.ndarray) -> np.ndarray:
    """Last hidden states, float32 (places, dim), at flat ``places`` of the batch, longest sequence first."""
    import torch

    lengths = np.array([len(sequence) for sequence in sequences])
    ids = np.zeros((len(sequences), lengths[0]), dtype=np.int64)  # what pads is masked
    for row, sequence in zip(ids, sequences, strict=True):
        row[: len(sequence)] = sequence
    if (highest := int(ids.max())) >= (size := encoder.model.config.vocab_size):
        raise ModelError(
            f"the tokenizer of {encoder.checkpoint.name} gives token {highest}, the model knows {size}; they belong "
            "to different models"
        )
    mask = np.arange(lengths[0])[None, :] < lengths[:, None]
    place = next(encoder.model.parameters()).device
    with torch.inference_mode():
        hidden = encoder.model(
            input_ids=torch.from_numpy(ids).to(place),
            attention_mask=None if mask.all() else torch.from_numpy(mask.astype(np.int64)).to(place),
            use_cache=False,
        ).last_hidden_state
        states: np.ndarray = hidden.flatten(0, 1)[torch.from_numpy(places).to(place)].float().cpu().numpy()
    return states


def train_layer(
    words: WordVectors,
    sentences: Sequence[Sentence],
    classes: Sequence[str],
    training: Training,
    seed: int,
    *,
    progress: Progress | None = None,
) -> torch.nn.Linear:
    """Train a linear layer from word vectors to ``classes``, on the CPU; the same seed gives the same layer.

    The loss is the mean cross-entropy over the words of ``training.batch`` sentences, drawn without replacement until
    all have been seen. Raises AdaptError when no word has a vector.
    """
    import torch

    numbers = {label: number for number, label in enumerate(classes)}
    labels = np.array([numbers[label] for sentence in sentences for label in sentence.labels])
    begins = np.cumsum([0, *(len(sentence.words) for sentence in sentences)])
    rows = [np.flatnonzero(words.known[a:b]) + a for a, b in zip(begins[:-1], begins[1:], strict=True)]
    rows = [row for row in rows if len(row)]
    if not rows:
        raise AdaptError("no training word has a vector: the tokenizer makes no token of them; check the data's column")
    random = np.random.default_rng(seed)
    queue: list[int] = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layer = torch.nn.Linear(words.vectors.shape[1], len(classes))
        dropout = torch.nn.Dropout(training.dropout)
        optimiser = torch.optim.AdamW(layer.parameters(), lr=training.rate, weight_decay=0.0)
        for step in range(1, training.steps + 1):
            if not queue:
                queue = random.permutation(len(rows)).tolist()
            taken, queue = queue[: training.batch], queue[training.batch :]
            chosen = np.concatenate([rows[number] for number in taken])
            inputs = torch.from_numpy(words.vectors[chosen].astype(np.float32))
            loss = torch.nn.functional.cross_entropy(layer(dropout(inputs)), torch.from_numpy(labels[chosen]))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            if progress is not None and (step % 50 == 0 or step == training.steps):
                progress(f"training with seed {seed}", step, training.steps)
    return layer.eval()


def label_words(layer: torch.nn.Linear, vectors: np.ndarray) -> np.ndarray:
    """The class of each word vector (words, dim): int64 (words,)."""
    import torch

    found = []
    with torch.inference_mode():
        for begin in range(0, len(vectors), ROWS):
            block = torch.from_numpy(vectors[begin : begin + ROWS].astype(np.float32))
            found.append(layer(block).argmax(dim=1).numpy())
    return np.concatenate(found)


def score_labels(sentences: Sequence[Sentence], answers: Sequence[Sequence[str]], *, spans: bool) -> dict[str, Score]:
    """Score the labels that each seed gave, ``answers`` (seeds, words), against those of the sentences.

    ``accuracy`` over words; with ``spans`` also ``F1`` over entities, counted as seqeval and conlleval do (an entity
    is right if its type and both ends are). Raises AdaptError when seqeval is missing.
    """
    begins = np.cumsum([0, *(len(sentence.words) for sentence in sentences)])
    correct, both, held = (np.zeros((len(answers), len(sentences))) for _ in range(3))
    entities = _entities() if spans else lambda labels: []
    for column, sentence in enumerate(sentences):
        gold = set(entities(list(sentence.labels)))
        for row, answer in enumerate(answers):
            given = list(answer[begins[column] : begins[column + 1]])
            correct[row, column] = sum(map(str.__eq__, given, sentence.labels))
            if spans:
                found = set(entities(given))
                both[row, column], held[row, column] = 2 * len(gold & found), len(gold) + len(found)
    scores = {"accuracy": _score(correct, np.broadcast_to(np.diff(begins), correct.shape))}
    return {**scores, "F1": _score(both, held)} if spans else scores


def _score(above: np.ndarray, below: np.ndarray) -> Score:
    """The ratio of two sums over sentences, (seeds, sentences) each, averaged over seeds; 0 where the lower is 0."""

    def ratio(one: np.ndarray, other: np.ndarray) -> np.ndarray:
        return np.divide(one, other, out=np.zeros_like(one), where=other > 0)

    per_seed = ratio(above.sum(axis=1), below.sum(axis=1))
    random = np.random.default_rng(0)
    count = above.shape[1]
    means = np.empty(RESAMPLES)
    for number in range(RESAMPLES):
        drawn = random.integers(0, count, count)
        means[number] = ratio(above[:, drawn].sum(axis=1), below[:, drawn].sum(axis=1)).mean()
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    deviation = float(per_seed.std(ddof=1)) if len(per_seed) > 1 else None
    return Score(float(per_seed.mean()), float(low), float(high), deviation, tuple(map(float, per_seed)))


def _entities() -> Callable[[list[str]], list[tuple[str, int, int]]]:
    """How seqeval reads labels, as (type, first word, last word); AdaptError when it is missing."""
    try:
        module = importlib.import_module("seqeval.metrics.sequence_labeling")
    except ImportError as error:
        raise AdaptError(
            "entities are scored by seqeval, which is not installed; pip install 'searchapp[adapt]', or use task pos"
        ) from error
    reader: Callable[[list[str]], list[tuple[str, int, int]]] = module.get_entities
    return reader
