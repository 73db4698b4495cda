"""What probes have found of a model's attention on this machine, kept in the user's cache so that it is found once.

What a kernel does with a mask is decided by the configuration, the versions of the libraries, the precision and the
device, not by the weights; so a verdict is kept by these. That the weights give finite numbers is kept by their files.
A fault that may pass, such as memory that ran out, is not kept, and what is kept may be lost: it is then probed again.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from searchapp.encoder.checkpoint import Checkpoint
from searchapp.user_cache import file_stamp, remember, remembered

KIND = "verdicts"
KERNELS = ("packed", "sdpa", "eager")
# Keys of a configuration that say nothing of attention: names, bookkeeping, what loading itself sets.
NAMES = {"_name_or_path", "transformers_version", "dtype", "torch_dtype", "architectures", "auto_map", "id2label",
         "label2id", "_attn_implementation", "attn_implementation"}  # fmt: skip
PROBED_BY = ("attention.py", "layers.py", "probes.py")  # another probe or kernel of ours asks anew


class Verdicts:
    """The kernels of one configuration in one precision on one device: what is wrong with each, as far as is known.

    On disk a JSON object of kernels (``packed``, ``sdpa``, ``eager``), each with its fault as a phrase, "" for none.
    With ``again`` nothing counts as known.
    """

    def __init__(self, config: Any, dtype: Any, device: str, *, again: bool = False) -> None:
        self._key = _key(config, dtype, device)
        self._faults: dict[str, str] = {} if again else _read(self._key)
        self._again = again

    def fault(self, kernel: str) -> str | None:
        """The fault of a kernel, "" where it has none; None while nothing is known of it."""
        return self._faults.get(kernel)

    def keep(self, kernel: str, fault: str) -> None:
        """Keep what a probe has found of a kernel."""
        self._faults[kernel] = fault
        remember(KIND, self._key, json.dumps({**_read(self._key), **self._faults}, sort_keys=True))

    def are_finite(self, checkpoint: Checkpoint) -> bool:
        """Whether the values that these very weights give are known to be finite."""
        key = self._weights_key(checkpoint)
        return not self._again and key is not None and remembered(KIND, key) == "finite"

    def keep_finite(self, checkpoint: Checkpoint) -> None:
        """Keep that they are; not while a file is so new that a change would not show."""
        if (key := self._weights_key(checkpoint)) is not None:
            remember(KIND, key, "finite")

    def _weights_key(self, checkpoint: Checkpoint) -> str | None:
        stamps = [_stamp(path) for path in _files(checkpoint)]
        return None if None in stamps else f"{self._key}|{'|'.join(map(str, stamps))}"


def _files(checkpoint: Checkpoint) -> Iterable[Path]:
    if checkpoint.weights.is_file():
        yield checkpoint.weights
    for folder in (checkpoint.weights, *checkpoint.adapters):
        yield from sorted(path for path in folder.glob("*") if path.suffix in (".safetensors", ".gguf"))
        yield from folder.glob("adapter_config.json")


def _stamp(path: Path) -> str | None:
    try:
        return file_stamp(path)
    except OSError:
        return None


def _read(key: str) -> dict[str, str]:
    try:
        content = json.loads(remembered(KIND, key) or "")
    except (ValueError, RecursionError):
        return {}
    if not isinstance(content, dict):
        return {}
    return {name: content[name] for name in KERNELS if isinstance(content.get(name), str)}


def _key(config: Any, dtype: Any, device: str) -> str:
    import torch
    import transformers

    said = {name: value for name, value in config.to_dict().items() if name not in NAMES}
    here = Path(__file__).parent
    ours = [hashlib.sha256((here / name).read_bytes()).hexdigest() for name in PROBED_BY]
    where = [platform.machine(), *_device(device)]
    parts = [said, str(torch.__version__), transformers.__version__, ours, str(dtype), where]
    return json.dumps(parts, sort_keys=True, default=str)


def _device(device: str) -> list[str]:
    """What the device is able to do, by which kernels are chosen."""
    import torch

    if not device.startswith("cuda"):
        return [device, torch.backends.cpu.get_cpu_capability()]
    return ["cuda", torch.cuda.get_device_name(device), str(torch.cuda.get_device_capability(device))]
