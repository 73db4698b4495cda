"""Put a trained model and its tokenizer into the package: float16 safetensors, settings, nothing else.

python training/package.py --work runs/bundled-2 --to searchapp/models/bundled
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import torch
from transformers import AutoModel

from searchapp.encoder import Settings, Template


def main() -> None:
    """Write the directory that ``Encoder.load("bundled")`` reads."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=Path("runs/bundled-2"))
    parser.add_argument("--stage", default="distilled-1")
    parser.add_argument("--to", type=Path, default=Path("searchapp/models/bundled"))
    parser.add_argument("--max-length", type=int, default=512)
    parser.add_argument("--document-max-length", type=int, default=400)
    options = parser.parse_args()
    options.to.mkdir(parents=True, exist_ok=True)
    model = AutoModel.from_pretrained(options.work / options.stage, dtype=torch.float16)
    model.config.is_causal = False
    model.save_pretrained(options.to)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(options.work / "tokenizer" / name, options.to / name)
    tokenizer = json.loads((options.to / "tokenizer.json").read_text(encoding="utf-8"))
    (options.to / "tokenizer.json").write_text(
        json.dumps(tokenizer, ensure_ascii=False, separators=(",", ":")), encoding="utf-8"
    )
    settings = Settings(
        span="offsets",
        max_length=options.max_length,
        document_max_length=options.document_max_length,
        template=Template(),
    )
    settings.save(options.to)


if __name__ == "__main__":
    main()
