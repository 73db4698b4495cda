"""The command line of the reproduction; see the package's own text."""

from __future__ import annotations

import argparse
import logging
import os
import time
from pathlib import Path

from training.reproduction import __doc__ as about
from training.reproduction.cells import RESULTS, Places, measure, ready, train
from training.reproduction.plan import SEEDS, TASKS, cells, variants
from training.reproduction.report import write_report
from training.reproduction.travel import pack

log = logging.getLogger("training")


def status(places: Places) -> None:
    """Say which cells are there, which could be measured now, and which need a model first."""
    for name, task, seed in cells():
        done = places.result(name, task, seed).exists()
        state = "done" if done else "ready" if ready(places, variants(seed)[name], seed) else "not trained"
        log.info("%-12s %-24s %-10s seed %d", state, name, task, seed)


def go_on(places: Places, minutes: float, trained: bool, most: int | None = None) -> None:
    """Do what is missing, the most telling first, until the time is up; what has begun is finished.

    With ``trained``, only what needs no training; ``most`` cells.
    """
    end = time.monotonic() + 60 * minutes
    left = most
    for name, task, seed in cells():
        if places.result(name, task, seed).exists():
            continue
        if time.monotonic() > end or left == 0:
            return
        if not ready(places, variants(seed)[name], seed):
            if trained:
                continue
            train(places, name, seed)
        measure(places, name, task, seed)
        left = None if left is None else left - 1


def main() -> None:
    """Parse and run."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, default=Path("runs/smollm2-135m"), help="the checkpoint of SmolLM2-135M")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--work", type=Path, default=Path("runs/reproduction"), help="where trained models lie")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--seed", type=int, default=SEEDS[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("status")
    verbs.add_parser("report")
    command = verbs.add_parser("pack", help="the base and the data in parts that travel to a machine without a network")
    command.add_argument("--to", type=Path, default=Path(".gpu/reproduction"))
    for verb in ("train", "measure"):
        command = verbs.add_parser(verb)
        command.add_argument("variant", choices=list(variants(SEEDS[0])))
        if verb == "measure":
            command.add_argument("task", choices=TASKS)
    command = verbs.add_parser("next")
    command.add_argument("--minutes", type=float, default=60)
    command.add_argument("--cells", type=int, help="so many at most")
    command.add_argument("--trained", action="store_true", help="measure only, train nothing")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    places = Places(options.base, options.data, options.work, options.results)
    if options.verb == "status":
        status(places)
    elif options.verb == "report":
        write_report(places)
    elif options.verb == "pack":
        for part in pack(places.base, places.data, options.to):
            log.info("%8.2f MiB  %s", sum(file.stat().st_size for file in part.iterdir()) / 2**20, part)
    elif options.verb == "train":
        log.info("%s", train(places, options.variant, options.seed))
    elif options.verb == "measure":
        measure(places, options.variant, options.task, options.seed)
    else:
        go_on(places, options.minutes, options.trained, options.cells)


if __name__ == "__main__":
    main()
