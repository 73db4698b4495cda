"""How much of each word a frozen model's states hold: a linear layer learns to read chunks, names or word classes.

The word-level probing of the LLM2Vec paper (section 3.1, appendix D.1.3), with two differences: the dropout before
the layer is off when it is scored (the original leaves it on), and beside accuracy there is the F1 of whole entities.
Every word is encoded once; its vectors lie in a temporary file, from which the layer is trained in seconds.
"""

from __future__ import annotations

import importlib
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from searchapp.adapt.probing.conll import Sentence, find_split, read_conll
from searchapp.adapt.probing.word_vectors import WordVectors, word_vectors
from searchapp.encoder import Encoder
from searchapp.encoder.causal import require_causal
from searchapp.errors import AdaptError
from searchapp.progress import Progress, Silent

if TYPE_CHECKING:
    import torch

TASKS = {"chunking": 3, "ner": 4, "pos": 2}  # the column of the label, counted from 1, in CoNLL 2000 and 2003 and UD
SPANS = ("chunking", "ner")  # labels of these mark where an entity begins and goes on
RESAMPLES, LEVEL = 2_000, 0.95
ROWS = 16_384  # words that are labelled together


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
class ProbeTraining:
    """How the linear layer is trained; the defaults are the paper's (appendix D.1.3).

    ``batch_size`` counts sentences. ``learning_rate`` is the constant one of AdamW (no weight decay), ``dropout`` acts
    on the word vectors. ``seeds`` layers are trained, with ``seed``, ``seed + 1`` and so on. The defaults suit models
    of some thousand dimensions; one of a few hundred wants a higher learning rate. Raises AdaptError.
    """

    steps: int = 1_500
    batch_size: int = 8
    learning_rate: float = 5e-4
    dropout: float = 0.1
    seed: int = 0
    seeds: int = 1

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "seeds"):
            if getattr(self, name) < 1:
                raise AdaptError(f"{name} is {getattr(self, name)}; expected 1 or more")
        if not 0 < self.learning_rate < float("inf") or not 0 <= self.dropout < 1 or self.seed < 0:
            raise AdaptError(
                f"learning_rate is {self.learning_rate}, dropout {self.dropout}, seed {self.seed}; expected a rate "
                "above 0, dropout in [0, 1) and a seed of 0 or more"
            )

    def to_json(self) -> dict[str, Any]:
        """The settings under the names that results have had from the first: ``batch`` and ``rate``."""
        names = {"batch_size": "batch", "learning_rate": "rate"}
        return {names.get(name, name): value for name, value in asdict(self).items()}


@dataclass(frozen=True)
class ProbeScore:
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
    scores: dict[str, ProbeScore]

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
    train, scored = (read_conll(find_split(folder, name), place, spans=spans) for name in ("train", split))
    return ProbeData(task, folder.resolve().name, split, place, train, scored)


def probe(
    encoder: Encoder,
    data: ProbeData,
    *,
    shift: bool = False,
    training: ProbeTraining | None = None,
    progress: Progress | None = None,
) -> ProbeResult:
    """Train a linear layer on the words of the training sentences, and score it on the others.

    For ``shift`` see ``word_vectors``. A word without a vector is not trained on, and is labelled by the layer's bias
    alone; a label that training has not shown counts as an error. Both are counted in the setting. Raises AdaptError,
    and ModelError for an encoder that passes for causal and is not.
    """
    training = training or ProbeTraining()
    require_causal(encoder)
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
        **training.to_json(),
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


def train_layer(
    words: WordVectors,
    sentences: Sequence[Sentence],
    classes: Sequence[str],
    training: ProbeTraining,
    seed: int,
    *,
    progress: Progress | None = None,
) -> torch.nn.Linear:
    """Train a linear layer from word vectors to ``classes``, on the CPU; the same seed gives the same layer.

    The loss is the mean cross-entropy over the words of ``training.batch_size`` sentences, drawn without replacement
    until all have been seen. ``progress`` has a stage, in steps. Raises AdaptError when no word has a vector.
    """
    import torch

    numbers = {label: number for number, label in enumerate(classes)}
    labels = np.array([numbers[label] for sentence in sentences for label in sentence.labels])
    begins = np.cumsum([0, *(len(sentence.words) for sentence in sentences)])
    rows = [np.flatnonzero(words.known[a:b]) + a for a, b in zip(begins[:-1], begins[1:], strict=True)]
    rows = [row for row in rows if len(row)]
    if not rows:
        raise AdaptError("no training word has a vector: the tokenizer makes no token of them; check the data's column")
    progress = progress or Silent()
    progress.stage(f"training with seed {seed}", training.steps, "step")
    random = np.random.default_rng(seed)
    queue: list[int] = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layer = torch.nn.Linear(words.vectors.shape[1], len(classes))
        dropout = torch.nn.Dropout(training.dropout)
        optimizer = torch.optim.AdamW(layer.parameters(), lr=training.learning_rate, weight_decay=0.0)
        for _ in range(training.steps):
            if not queue:
                queue = random.permutation(len(rows)).tolist()
            taken, queue = queue[: training.batch_size], queue[training.batch_size :]
            chosen = np.concatenate([rows[number] for number in taken])
            inputs = torch.from_numpy(words.vectors[chosen].astype(np.float32))
            loss = torch.nn.functional.cross_entropy(layer(dropout(inputs)), torch.from_numpy(labels[chosen]))
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            progress.advance()
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


def score_labels(
    sentences: Sequence[Sentence], answers: Sequence[Sequence[str]], *, spans: bool
) -> dict[str, ProbeScore]:
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


def _score(above: np.ndarray, below: np.ndarray) -> ProbeScore:
    """The ratio of two sums over sentences, (seeds, sentences) each, averaged over seeds; 0 where the lower is 0."""

    def ratio(one: np.ndarray, other: np.ndarray) -> np.ndarray:
        found: np.ndarray = np.divide(one, other, out=np.zeros_like(one), where=other > 0)
        return found

    per_seed = ratio(above.sum(axis=1), below.sum(axis=1))
    random = np.random.default_rng(0)
    count = above.shape[1]
    means = np.empty(RESAMPLES)
    for number in range(RESAMPLES):
        drawn = random.integers(0, count, count)
        means[number] = ratio(above[:, drawn].sum(axis=1), below[:, drawn].sum(axis=1)).mean()
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    deviation = float(per_seed.std(ddof=1)) if len(per_seed) > 1 else None
    return ProbeScore(float(per_seed.mean()), float(low), float(high), deviation, tuple(map(float, per_seed)))


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
