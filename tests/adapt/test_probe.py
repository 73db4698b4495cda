"""Word-level probing: what the linear layer makes of word vectors, and how its labels are scored."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from typer import Typer
from typer.testing import CliRunner

from searchapp import Encoder
from searchapp.adapt.probing.conll import Sentence
from searchapp.adapt.probing.linear_probe import (
    ProbeData,
    ProbeTraining,
    label_words,
    probe,
    read_task,
    score_labels,
    train_layer,
)
from searchapp.adapt.probing.word_vectors import WordVectors
from searchapp.errors import AdaptError, ModelError
from searchapp.progress import Silent


def classes_by_word(count: int, seed: int = 0) -> list[Sentence]:
    """Sentences whose labels follow from the words alone."""
    random = np.random.default_rng(seed)
    kinds = {"the": "DET", "bees": "NOUN", "honey": "NOUN", "fly": "VERB", "make": "VERB", "2024": "NUM"}
    return [
        Sentence(tuple(words), tuple(kinds[word] for word in words))
        for words in (random.choice(list(kinds), random.integers(2, 9)).tolist() for _ in range(count))
    ]


def write(place: Path, sentences: list[Sentence]) -> None:
    place.write_text(
        "\n".join(
            "".join(f"{w}\t{label}\n" for w, label in zip(item.words, item.labels, strict=True)) for item in sentences
        )
    )


def test_a_model_that_is_causal_by_name_only_is_refused(tiny_model: Path) -> None:
    encoder = Encoder.load(str(tiny_model))
    encoder.settings = encoder.settings.with_options(bidirectional=False)
    sentences = classes_by_word(2)
    with pytest.raises(ModelError, match="still sees what follows"):
        probe(encoder, ProbeData("pos", "toy", "test", 2, sentences, sentences))


class Stages(Silent):
    """What was done of each stage, and how much there was to do."""

    def __init__(self) -> None:
        self.found: dict[str, list[int | None]] = {}

    def stage(self, name, total=None, unit="", done=0):
        self.found[name] = self.last = [done, total]

    def advance(self, count=1, **figures):
        self.last[0] += count


def test_a_task_that_the_words_decide_is_learnt_and_shuffled_labels_are_not(tiny_model: Path) -> None:
    encoder = Encoder.load(str(tiny_model))
    encoder.model.embed_tokens.weight.mul_(20)  # each state tells its own token, so that words can be told apart
    before = {name: tensor.clone() for name, tensor in encoder.model.state_dict().items()}
    train, scored = classes_by_word(120), classes_by_word(60, seed=1)
    training = ProbeTraining(steps=200, learning_rate=2e-2, seeds=2)
    progress = Stages()
    data = ProbeData("pos", "toy", "test", 2, train, scored)
    result = probe(encoder, data, training=training, progress=progress)
    score = result.scores["accuracy"]
    assert score.value > 0.98 and len(score.per_seed) == 2 and score.deviation is not None
    assert score.low <= score.value <= score.high
    assert progress.found == {
        "training words": [120, 120], "test words": [60, 60],
        "training with seed 0": [200, 200], "training with seed 1": [200, 200],
    }  # fmt: skip

    random = np.random.default_rng(0)
    labels = random.permutation([label for item in train for label in item.labels]).tolist()
    shuffled = [Sentence(item.words, tuple(labels.pop() for _ in item.words)) for item in train]
    guessed = probe(encoder, ProbeData("pos", "toy", "test", 2, shuffled, scored), training=training)
    assert guessed.scores["accuracy"].value < 0.6
    for name, tensor in encoder.model.state_dict().items():
        assert torch.equal(tensor, before[name]) and not tensor.requires_grad


def test_the_same_seed_gives_the_same_layer_and_leaves_the_random_state_alone() -> None:
    random = np.random.default_rng(0)
    sentences = [Sentence(("a", "b"), ("X", "Y"))] * 20
    words = WordVectors(random.normal(size=(40, 8)).astype(np.float16), np.ones(40, bool), 0)
    state = torch.get_rng_state()
    layers = [train_layer(words, sentences, ["X", "Y"], ProbeTraining(steps=20), seed) for seed in (3, 3, 4)]
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(layers[0].weight, layers[1].weight) and not torch.equal(layers[0].weight, layers[2].weight)


def test_words_without_a_vector_teach_nothing() -> None:
    sentences = [Sentence(("a", "b", "c"), ("X", "Y", "Z"))] * 8
    vectors = np.tile(np.float16([[4, 0], [0, 4], [0, 0]]), (8, 1))
    words = WordVectors(vectors, vectors.any(axis=1), 0)
    layer = train_layer(words, sentences, ["X", "Y", "Z"], ProbeTraining(steps=300, learning_rate=0.05), 0)
    assert label_words(layer, vectors[:2]).tolist() == [0, 1]
    assert layer.bias.argmin() == 2  # the label of the unknown words is never the answer
    with pytest.raises(AdaptError, match="no training word has a vector"):
        train_layer(WordVectors(vectors, np.zeros(24, bool), 0), sentences, ["X", "Y", "Z"], ProbeTraining(), 0)


def test_entities_are_scored_as_counted_by_hand_and_by_seqeval() -> None:
    from seqeval.metrics import f1_score

    gold = ["B-PER I-PER O B-LOC", "B-ORG O O", "O O"]
    given = ["B-PER I-PER O B-ORG", "B-ORG I-ORG O", "O B-LOC"]
    better = ["B-PER I-PER O B-LOC", "B-ORG O O", "O O"]
    sentences = [Sentence(tuple("w" * len(line.split())), tuple(line.split())) for line in gold]
    answers = [[label for line in lines for label in line.split()] for lines in (given, better)]
    scores = score_labels(sentences, answers, spans=True)
    # of 3 entities 1 is found, among 4 that were given: 2·1/(3+4); 6 of 9 words are right
    assert scores["F1"].per_seed == pytest.approx((2 / 7, 1.0))
    assert scores["accuracy"].per_seed == pytest.approx((6 / 9, 1.0))
    assert scores["F1"].value == pytest.approx((2 / 7 + 1) / 2)
    assert scores["F1"].deviation == pytest.approx(np.std([2 / 7, 1], ddof=1))
    assert scores["F1"].per_seed[0] == pytest.approx(
        f1_score([line.split() for line in gold], [line.split() for line in given])
    )
    assert "F1" not in score_labels(sentences, answers, spans=False)
    nothing = score_labels([Sentence(("w",), ("O",))], [["O"]], spans=True)
    assert nothing["F1"].value == 0 and nothing["accuracy"].low == 1


def test_a_label_that_training_lacks_is_an_error_and_is_said(tiny_encoder: Encoder) -> None:
    train = [Sentence(("the", "bees", "fly"), ("O", "B-A", "O"))] * 8
    scored = [Sentence(("the", "bees", "fly"), ("O", "B-A", "B-NEW"))]
    training = ProbeTraining(steps=100, learning_rate=0.02)
    result = probe(tiny_encoder, ProbeData("ner", "toy", "test", 4, train, scored), training=training)
    assert result.setting["unseen_labels"] == {"B-NEW": 1}
    assert result.scores["accuracy"].value == pytest.approx(2 / 3)
    assert result.scores["F1"].value == pytest.approx(2 / 3)  # one found, of one given and two in truth


def test_without_seqeval_one_line_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "seqeval"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "seqeval", None)
    with pytest.raises(AdaptError, match=r"pip install 'searchapp\[adapt\]'"):
        read_task(tmp_path, "ner")


@pytest.mark.parametrize(
    "options", [{"steps": 0}, {"batch_size": 0}, {"seeds": 0}, {"learning_rate": 0.0}, {"learning_rate": float("nan")}]
)
def test_training_that_makes_no_sense_is_refused(options: dict) -> None:
    with pytest.raises(AdaptError, match="expected"):
        ProbeTraining(**options)


def test_the_command_prints_a_table_or_one_json_object(tiny_model: Path, tmp_path: Path) -> None:
    import json

    from searchapp.cli.probe import probe as command

    app = Typer()
    app.command()(command)
    write(tmp_path / "train.tsv", classes_by_word(60))
    write(tmp_path / "test.tsv", [*classes_by_word(20, seed=1), Sentence(("the",), ("NEW",))])
    given = ["--task", "pos", "--data", str(tmp_path), "--model", str(tiny_model), "--steps", "60", "--lr", "0.02"]
    outcome = CliRunner().invoke(app, [*given, "--json", "--causal", "--shift"])
    assert outcome.exit_code == 0, outcome.output
    (result,) = json.loads(outcome.stdout)["results"]
    assert result["setting"]["bidirectional"] is False and result["setting"]["shift"] is True
    assert set(result["metrics"]) == {"accuracy"} and "test words" in outcome.stderr
    outcome = CliRunner().invoke(app, [*given, "--seeds", "2"])
    assert outcome.exit_code == 0, outcome.output
    for part in ("pos on", "21 sentences", "deviation over seeds", "NEW (1)", "most frequent label", "bidirectional"):
        assert part in outcome.stdout
    failed = CliRunner().invoke(app, ["--task", "tagging", "--data", str(tmp_path)])
    assert isinstance(failed.exception, AdaptError) and "chunking, ner, pos" in str(failed.exception)
