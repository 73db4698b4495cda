"""``searchapp adapt probe``: what a frozen model knows of each word."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from searchapp.cli import options
from searchapp.cli.console import say, say_json, seconds_text, table

if TYPE_CHECKING:
    from searchapp.adapt.probing.linear_probe import ProbeResult


def probe(
    task: Annotated[str, typer.Option(help="chunking, ner or pos.")],
    data: Annotated[
        Path, typer.Option(help="A folder of CoNLL column files, a word a line: train.txt, test.txt (also .gz).")
    ],
    model: options.Model = "bundled",
    adapter: options.Adapters = None,
    bidirectional: options.Bidirectional = None,
    shift: Annotated[
        bool,
        typer.Option(
            "--shift/--no-shift",
            help="Read a word from the states one token earlier, which predict it: meant for models trained with MNTP.",
        ),
    ] = False,
    split: Annotated[str, typer.Option(help="The file to score: test or dev.")] = "test",
    column: Annotated[
        int | None,
        typer.Option(help="Column of the labels, from 1; default: pos 2, chunking 3, ner 4.", min=2),
    ] = None,
    steps: Annotated[int, typer.Option(help="Training steps of the linear layer.", min=1)] = 1_500,
    batch: Annotated[int, typer.Option("--batch-size", help="Sentences in a training step.", min=1)] = 8,
    rate: Annotated[
        float,
        typer.Option(
            "--learning-rate", "--lr", help="Constant learning rate of AdamW; small models want more, such as 0.005."
        ),
    ] = 5e-4,
    seed: Annotated[int, typer.Option(help="Seed of the first layer.", min=0)] = 0,
    seeds: Annotated[int, typer.Option(help="Train so many layers, and report their mean and spread.", min=1)] = 1,
    attention: options.Attention = "auto",
    dtype: options.Dtype = "auto",
    device: options.Device = "auto",
    json: options.Json = False,
) -> None:
    """Train a linear layer on a frozen model's word vectors, and score it, with 95 % intervals over the sentences."""
    from searchapp.adapt.probing.linear_probe import ProbeTraining, read_task
    from searchapp.adapt.probing.linear_probe import probe as measure
    from searchapp.cli.progress import Bar
    from searchapp.encoder import Encoder

    training = ProbeTraining(steps=steps, batch_size=batch, learning_rate=rate, seed=seed, seeds=seeds)
    sentences = read_task(data, task, split=split, column=column)
    encoder = Encoder.load(
        model, adapters=adapter, bidirectional=bidirectional, attention=attention, dtype=dtype, device=device
    )
    with Bar() as bar:
        result = measure(encoder, sentences, shift=shift, training=training, progress=bar)
    if json:
        say_json({"results": [result.to_json()]})
    else:
        _show(result)


def _show(result: ProbeResult) -> None:
    setting = result.setting
    say(
        f"{setting['task']} on {setting['data']} ({setting['split']}): {setting['sentences']:,} sentences, "
        f"{setting['words']:,} words, {setting['labels']} labels; trained on {setting['train_words']:,} words"
    )
    attention = "bidirectional" if setting["bidirectional"] else "causal"
    read = "one token earlier" if setting["shift"] else "at their own tokens"
    say(f"model {setting['model']}, {attention}, words read {read}")
    for line in _shortfalls(result):
        say(line)
    several = setting["seeds"] > 1
    rows = [["score", "value", "95 % interval", *(["deviation over seeds"] if several else [])]]
    for name, score in result.scores.items():
        spread = [f"{score.deviation:.4f}"] if score.deviation is not None else []
        rows.append([name, f"{score.value:.4f}", f"[{score.low:.4f}, {score.high:.4f}]", *spread])
    rows.append(["accuracy of the most frequent label", f"{setting['majority_accuracy']:.4f}", *[""] * (1 + several)])
    say(table(rows))
    say(
        f"encoded in {seconds_text(setting['encoding_seconds'])}, {setting['seeds']} × {setting['steps']:,} steps of "
        f"training in {seconds_text(setting['training_seconds'])}"
    )


def _shortfalls(result: ProbeResult) -> list[str]:
    """What could not be read, a line each."""
    setting = result.setting
    lines = []
    if setting["train_sentences_cut"] or setting["sentences_cut"]:
        lines.append(
            f"cut at the model's last position: {setting['train_sentences_cut']:,} training sentences, "
            f"{setting['sentences_cut']:,} of {setting['split']}"
        )
    if setting["train_words_without_vector"] or setting["words_without_vector"]:
        lines.append(
            f"words without a vector: {setting['train_words_without_vector']:,} in training (left out), "
            f"{setting['words_without_vector']:,} in {setting['split']} (labelled without one)"
        )
    if setting["unseen_labels"]:
        named = ", ".join(f"{label} ({count:,})" for label, count in setting["unseen_labels"].items())
        lines.append(f"labels that training lacks, counted as errors: {named}")
    return lines
