"""``searchapp plan``: what a build of so many documents takes, before anything is bought."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from searchapp.cli import options
from searchapp.cli.console import bytes_text, say, say_json, seconds_text
from searchapp.cli.signatures import command
from searchapp.cli.wording import DOCUMENTS, MODEL, OUTPUT, WORKERS

DAY = 86_400


@command(
    "searchapp plan --documents 1e9 --dim 4096 --tokens 200 --device h200x8",
    "searchapp plan --documents 2e7 --dim 768 --tokens 150 --device l4x4 --rate 9000 --json",
)
def plan(
    documents: Annotated[
        float, typer.Option(help="How many documents.", show_default=False, rich_help_panel=DOCUMENTS)
    ],
    dim: Annotated[int, typer.Option(help="Dimensions of a vector.", rich_help_panel=MODEL)] = 4_096,
    tokens: Annotated[float, typer.Option(help="Tokens of a document.", rich_help_panel=DOCUMENTS)] = 200,
    device: Annotated[
        str,
        typer.Option(help="Devices of a machine: h200x8; h200, h100, a100, l40s, l4 or cpu.", rich_help_panel=WORKERS),
    ] = "h200x8",
    machines: Annotated[int, typer.Option(help="Machines that encode.", rich_help_panel=WORKERS)] = 1,
    rate: Annotated[
        float | None, typer.Option(help="Tokens a second and device, where measured.", rich_help_panel=WORKERS)
    ] = None,
    parameters: Annotated[
        float | None, typer.Option(help="Parameters of the model; default: by its dimensions.", rich_help_panel=MODEL)
    ] = None,
    constants: Annotated[
        bool, typer.Option("--constants", help="Print the numbers that this is made of.", rich_help_panel=OUTPUT)
    ] = False,
    json: options.Json = False,
) -> None:
    """Say what a build of so many documents takes: hours, bytes, machines, what to pay for, and the commands."""
    from searchapp.shards.cost import CONSTANTS, DEVICES, Wanted, estimate_cost, parse_device

    name, count = parse_device(device)
    wanted = Wanted(documents, dim, tokens, name, count, machines, parameters, rate)
    found = estimate_cost(wanted)
    commands = _commands(machines, count, name)
    if json:
        table = {key: asdict(constant) for key, constant in CONSTANTS.items()} if constants else {}
        say_json(
            {
                **asdict(found), "bytes": found.bytes, "machines": found.machines, "commands": commands,
                **({"constants": table} if constants else {}),
            }
        )  # fmt: skip
        return
    speed = "as given" if rate else f"{found.parameters:.2g} parameters, 40 % of {DEVICES[name].operations:.3g} op/s"
    say(f"documents      {documents:,.0f} of {tokens:,.0f} tokens: {found.tokens:,.0f}")
    say(f"encoding       {_long(found.encoding)} on {found.devices} x {name} at {found.rate:,.0f} tokens/s ({speed})")
    say(
        f"to pay         {found.device_hours:,.0f} hours of a {name}, or {found.device_hours / count:,.0f} of a machine"
    )
    say(f"assembling     {_long(found.assembling)} by one process, from the stored vectors")
    say(f"chunks         {found.chunks:,}; shards {found.shards:,}")
    say(f"vectors        {bytes_text(found.vectors)}, codes {bytes_text(found.codes)} (in memory)")
    say(f"words, text    {bytes_text(found.postings)}, {bytes_text(found.text)}; hashes {bytes_text(found.hashes)}")
    say(f"kept           {bytes_text(found.bytes)}, which is what storage is paid for by the month")
    needed = f"{found.machines_by_disk} by disk, {found.machines_by_memory} by memory"
    say(f"machines       {found.machines} to search: {needed}")
    say(f"a query        about {found.query * 1000:,.0f} ms, {found.queries:,.0f} a second; {found.reads:,.0f} reads")
    for line in commands:
        say(f"$ {line}")
    if constants:
        for key, constant in CONSTANTS.items():
            say(f"{key:<14} {constant.value:g} {constant.unit} ({constant.source})")


def _commands(machines: int, count: int, name: str) -> list[str]:
    build = "searchapp build docs/*.parquet --index /shared/indexes/big --shards auto"
    devices = ",".join(f"cuda:{number}" for number in range(count))
    chosen = f" --device {devices}" if name != "cpu" else ""
    if machines == 1:
        return [f"{build} --engine processes --workers {count}{chosen}"]
    each = machines * count
    return [
        f"{build} --engine ray:HEAD:6379 --workers {each}",
        f"{build} --engine none && sbatch --array=0-{each - 1} run.sh  # docs/how-to/cluster.md",
    ]


def _long(seconds: float) -> str:
    return f"{seconds / DAY:,.1f} days" if seconds > 2 * DAY else seconds_text(seconds)
