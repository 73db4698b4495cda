"""Word-level probing: what is read from files, which states a word gets, and what the linear layer makes of them."""

from __future__ import annotations

import gzip
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from typer import Typer
from typer.testing import CliRunner

from searchapp import Encoder
from searchapp.adapt.probe import (
    ProbeData,
    Sentence,
    Training,
    WordVectors,
    align,
    find_split,
    label_words,
    probe,
    read_columns,
    read_task,
    score_labels,
    to_iob2,
    train_layer,
    word_vectors,
)
from searchapp.errors import AdaptError, ModelError
from tests.models import LINES, make_checkpoint

CONLL2003 = """-DOCSTART- -X- O O

EU NNP I-NP I-ORG
rejects VBZ I-VP O
German JJ I-NP I-MISC
lamb NN I-NP O

Peter NNP I-NP I-PER
Blackburn NNP I-NP I-PER
Ann NNP I-NP B-PER
Paris NNP I-NP I-LOC
"""
SENTENCES = [
    ["the", "quick", "brown", "fox"],
    ["bees", "fly", "and", "make", "honey", "in", "their", "hives", "2024", "!"],
    ["don", "'t", "猫", "é"],
    ["measure"],
]


def string_tokenizer():
    """As SentencePiece makes it for Llama 2: one string, blanks as ▁, one before it all, bytes for unknown letters."""
    from tokenizers import Tokenizer, models, normalizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    special = ["<pad>", "<s>", "</s>", "<unk>", *(f"<0x{byte:02X}>" for byte in range(256))]
    words = [word for line in LINES for word in line.split()]  # of single words, so that no piece crosses a blank
    trainer = trainers.BpeTrainer(vocab_size=380, special_tokens=special, show_progress=False)
    backend.train_from_iterator(words, trainer)
    backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>", bos_token="<s>", eos_token="</s>")


@pytest.fixture(scope="module")
def string_encoder(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    place = make_checkpoint(tmp_path_factory.mktemp("models") / "string", string_tokenizer(), "mistral")
    return Encoder.load(str(place))


def pieces(encoder: Encoder, words: list[str]) -> tuple[list[int], list[list[int]]]:
    """By hand: ids of a sentence, and each word's positions, from the tokens of the sentence up to each word's end."""
    ids = encoder.tokenizer(" ".join(words))["input_ids"]
    ends = [len(encoder.tokenizer(" ".join(words[: n + 1]))["input_ids"]) for n in range(len(words))]
    return ids, [list(range(begin, end)) for begin, end in zip([1, *ends[:-1]], ends, strict=True)]


def by_hand(encoder: Encoder, words: list[str], back: int = 0) -> np.ndarray:
    ids, positions = pieces(encoder, words)
    states = encoder.model(input_ids=torch.tensor([ids])).last_hidden_state[0].numpy()
    return np.stack([np.mean([states[at - back] for at in places], axis=0) for places in positions])


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


def test_a_file_is_read_as_written_and_iob1_becomes_iob2(tmp_path: Path) -> None:
    place = tmp_path / "eng.train"
    place.write_text(CONLL2003)
    first, second = read_columns(place, 4, spans=True)
    assert first == Sentence(("EU", "rejects", "German", "lamb"), ("B-ORG", "O", "B-MISC", "O"))
    assert second.labels == ("B-PER", "I-PER", "B-PER", "B-LOC")
    assert [item.labels for item in read_columns(place, 3, spans=True)][0] == ("B-NP", "B-VP", "B-NP", "I-NP")
    assert read_columns(place, 2)[1].labels == ("NNP",) * 4
    packed = tmp_path / "train.txt.gz"
    packed.write_bytes(gzip.compress(b"\xef\xbb\xbf" + CONLL2003.replace("\n", "\r\n").encode()))
    assert read_columns(packed, 4, spans=True) == [first, second]


def test_tabs_part_columns_where_a_word_has_blanks(tmp_path: Path) -> None:
    place = tmp_path / "dev.tsv"
    place.write_text("1 000\tNUM\tCD\nbees\u00a0!\tNOUN\tNNS\n \t \n\n!\tPUNCT\t.")
    assert read_columns(place, 2) == [Sentence(("1 000", "bees\u00a0!"), ("NUM", "NOUN")), Sentence(("!",), ("PUNCT",))]


@pytest.mark.parametrize(
    ("iob1", "iob2"),
    [
        ("I-A I-A O I-A", "B-A I-A O B-A"),
        ("I-A I-B I-B B-B I-B", "B-A B-B I-B B-B I-B"),
        ("B-A I-A O O B-B B-B", "B-A I-A O O B-B B-B"),
        ("O", "O"),
    ],
)
def test_iob2_is_what_the_definition_says_and_stays_so(iob1: str, iob2: str) -> None:
    assert to_iob2(iob1.split()) == iob2.split()
    assert to_iob2(iob2.split()) == iob2.split()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "no sentence"),
        ("\n\n", "no sentence"),
        ("a NN B-NP\nb NN\n", "line 2: 2 columns; expected 3"),
        ("a\tNN\tB-NP\n\nb\t\tO\n", "line 3: 2 columns; expected 3"),
        ("a NN\n", "2 columns; expected the labels in column 3"),
        ("a NN O\nb NN NNP\n", "line 2: label 'NNP'; expected O, B-"),
        ("a NN E-NP\n", "label 'E-NP'"),
        (b"caf\xe9 NN O\n", "cannot be read"),
    ],
)
def test_a_file_that_cannot_be_right_is_refused_by_line(tmp_path: Path, content: str | bytes, message: str) -> None:
    place = tmp_path / "train.txt"
    place.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(AdaptError, match=message):
        read_columns(place, 3, spans=True)


def test_a_damaged_archive_is_refused(tmp_path: Path) -> None:
    place = tmp_path / "train.txt.gz"
    for content in (b"no archive", gzip.compress(CONLL2003.encode() * 99)[:-20]):
        place.write_bytes(content)
        with pytest.raises(AdaptError, match="cannot be read"):
            read_columns(place, 2)


def test_the_file_of_a_split_is_found_by_name(tmp_path: Path) -> None:
    names = ("eng.train", "eng.testa", "en_ewt-ud-test.tsv.gz", "README", ".test.txt.swp", "contest.txt")
    for name in names:
        (tmp_path / name).touch()
    assert [find_split(tmp_path, split).name for split in ("train", "dev", "test")] == list(names[:3])
    (tmp_path / "test.txt").touch()
    with pytest.raises(AdaptError, match=r"2 files for the split 'test' \(en_ewt-ud-test.tsv.gz, test.txt\)"):
        find_split(tmp_path, "test")
    with pytest.raises(AdaptError, match="0 files for the split 'extra'"):
        find_split(tmp_path, "extra")
    with pytest.raises(AdaptError, match="is no folder"):
        find_split(tmp_path / "none", "test")


def test_the_published_numbers_of_entities_are_found(shared: Path) -> None:
    from seqeval.metrics.sequence_labeling import get_entities

    # names: Tjong Kim Sang & De Meulder 2003, tables 1 and 2; chunks: what conlleval counts in the CoNLL-2000 test data
    published = {("conll2003", "dev", 4): (3_250, 51_362, 5_942), ("conll2000", "test", 3): (2_012, 47_377, 23_852)}
    for (name, split, column), expected in published.items():
        folder = shared / "data" / "wordlevel" / name
        if not folder.is_dir():
            pytest.skip(f"{name} is not in ../shared")
        read = read_columns(find_split(folder, split), column, spans=True)
        entities = sum(len(get_entities(list(sentence.labels))) for sentence in read)
        assert (len(read), sum(len(sentence.words) for sentence in read), entities) == expected


def test_tokens_belong_to_the_words_whose_letters_they_cover() -> None:
    # a bc d:  BOS  "a"     " b"    "c"     " "     "d"     EOS
    offsets = [(0, 0), (0, 1), (1, 3), (3, 4), (4, 5), (5, 6), (0, 0)]
    tokens, words = align(["a", "bc", "d"], offsets)
    assert list(zip(tokens.tolist(), words.tolist(), strict=True)) == [(1, 0), (2, 1), (3, 1), (4, 2), (5, 2)]
    tokens, words = align(["a", "bc", "d"], [(0, 4), (4, 6), (6, 7)])  # one over two words, one behind the end
    assert list(zip(tokens.tolist(), words.tolist(), strict=True)) == [(0, 0), (0, 1), (1, 2)]


@pytest.mark.parametrize("kind", ["bytes", "string"])
@pytest.mark.parametrize("back", [0, 1])
def test_a_word_is_the_mean_of_its_own_states(
    tiny_encoder: Encoder, string_encoder: Encoder, tmp_path: Path, kind: str, back: int
) -> None:
    encoder = {"bytes": tiny_encoder, "string": string_encoder}[kind]
    assert any(len(places) > 1 for places in pieces(encoder, SENTENCES[1])[1])
    got = word_vectors(encoder, SENTENCES, tmp_path / "words", shift=back == 1)
    expected = np.concatenate([by_hand(encoder, words, back) for words in SENTENCES])
    assert got.known.all() and got.cut == 0
    np.testing.assert_allclose(got.vectors, expected, atol=4e-3, rtol=2e-3)


def test_batch_mates_and_padding_move_nothing(
    tiny_encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = word_vectors(tiny_encoder, SENTENCES, tmp_path / "all").vectors
    alone = [word_vectors(tiny_encoder, [words], tmp_path / f"{n}").vectors for n, words in enumerate(SENTENCES)]
    np.testing.assert_allclose(together, np.concatenate(alone), atol=2e-3)
    monkeypatch.setattr("searchapp.adapt.probe.WINDOW", 2)
    windows = word_vectors(tiny_encoder, SENTENCES, tmp_path / "windows").vectors
    np.testing.assert_allclose(together, windows, atol=2e-3)


def test_words_beyond_the_last_position_have_no_vector_and_are_counted(
    tokenizer, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    short = Encoder.load(str(make_checkpoint(tmp_path / "short", tokenizer, max_position_embeddings=24)))
    words = ["bees", "fly"] * 20
    ids, positions = pieces(short, words)
    got = word_vectors(short, [["the"], words], tmp_path / "words")
    assert got.cut == 1
    assert got.known.tolist() == [True, *(places[0] < 24 for places in positions)]
    assert not got.vectors[~got.known].any() and got.vectors[got.known].any(axis=1).all()


def test_without_bos_the_first_token_has_no_state_before_it(tokenizer, tmp_path: Path) -> None:
    from copy import deepcopy

    from tokenizers import processors

    bare = deepcopy(tokenizer)
    bare.backend_tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    encoder = Encoder.load(str(make_checkpoint(tmp_path / "bare", bare)))
    assert encoder.tokenizer("the").input_ids == encoder.tokenizer("the", add_special_tokens=False).input_ids
    got = word_vectors(encoder, [["the", "bees"]], tmp_path / "words", shift=True)
    assert got.known.tolist() == [False, True]


def test_a_causal_model_is_blind_to_what_follows(tiny_model: Path, tmp_path: Path) -> None:
    for bidirectional in (True, False):
        encoder = Encoder.load(str(tiny_model), bidirectional=bidirectional)
        pair = [["bees", "fly"], ["bees", "make"]]
        vectors = word_vectors(encoder, pair, tmp_path / "words").vectors.astype(np.float32)
        assert np.allclose(vectors[0], vectors[2], atol=2e-3) != bidirectional


def test_a_model_that_is_causal_by_name_only_is_refused(tiny_model: Path) -> None:
    encoder = Encoder.load(str(tiny_model))
    encoder.settings = encoder.settings.with_options(bidirectional=False)
    sentences = classes_by_word(2)
    with pytest.raises(ModelError, match="still sees what follows"):
        probe(encoder, ProbeData("pos", "toy", "test", 2, sentences, sentences))


def test_values_beyond_float16_are_refused(tiny_model: Path, tmp_path: Path) -> None:
    encoder = Encoder.load(str(tiny_model))
    encoder.model.norm.weight.fill_(1e6)
    with pytest.raises(ModelError, match="too large for float16"):
        word_vectors(encoder, SENTENCES, tmp_path / "words")


def test_a_task_that_the_words_decide_is_learnt_and_shuffled_labels_are_not(tiny_model: Path) -> None:
    encoder = Encoder.load(str(tiny_model))
    encoder.model.embed_tokens.weight.mul_(20)  # each state tells its own token, so that words can be told apart
    before = {name: tensor.clone() for name, tensor in encoder.model.state_dict().items()}
    train, scored = classes_by_word(120), classes_by_word(60, seed=1)
    training = Training(steps=200, rate=2e-2, seeds=2)
    seen: list[tuple[str, int, int]] = []
    data = ProbeData("pos", "toy", "test", 2, train, scored)
    result = probe(encoder, data, training=training, progress=lambda *news: seen.append(news))
    score = result.scores["accuracy"]
    assert score.value > 0.98 and len(score.per_seed) == 2 and score.deviation is not None
    assert score.low <= score.value <= score.high
    assert {stage: (done, of) for stage, done, of in seen} == {
        "training words": (120, 120), "test words": (60, 60),
        "training with seed 0": (200, 200), "training with seed 1": (200, 200),
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
    layers = [train_layer(words, sentences, ["X", "Y"], Training(steps=20), seed) for seed in (3, 3, 4)]
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(layers[0].weight, layers[1].weight) and not torch.equal(layers[0].weight, layers[2].weight)


def test_words_without_a_vector_teach_nothing() -> None:
    sentences = [Sentence(("a", "b", "c"), ("X", "Y", "Z"))] * 8
    vectors = np.tile(np.float16([[4, 0], [0, 4], [0, 0]]), (8, 1))
    words = WordVectors(vectors, vectors.any(axis=1), 0)
    layer = train_layer(words, sentences, ["X", "Y", "Z"], Training(steps=300, rate=0.05), 0)
    assert label_words(layer, vectors[:2]).tolist() == [0, 1]
    assert layer.bias.argmin() == 2  # the label of the unknown words is never the answer
    with pytest.raises(AdaptError, match="no training word has a vector"):
        train_layer(WordVectors(vectors, np.zeros(24, bool), 0), sentences, ["X", "Y", "Z"], Training(), 0)


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
    training = Training(steps=100, rate=0.02)
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


@pytest.mark.parametrize("options", [{"steps": 0}, {"batch": 0}, {"seeds": 0}, {"rate": 0.0}, {"rate": float("nan")}])
def test_training_that_makes_no_sense_is_refused(options: dict) -> None:
    with pytest.raises(AdaptError, match="expected"):
        Training(**options)


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
