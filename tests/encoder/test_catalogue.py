"""What is found of models on this machine, and that nothing is said that their files do not say."""

from __future__ import annotations

import json
import shutil
import struct
from pathlib import Path

import pytest

from searchapp.encoder.catalogue import find_models, hub_cache
from searchapp.encoder.speed import Speed, keep_speed, kept_speed
from searchapp.errors import ModelError
from tests.models import make_adapter


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "hub"


def write_gguf(path: Path, *, damaged: bool = False) -> None:
    """By the specification, version 3, with a vocabulary that has to be passed over."""

    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value.encode())) + value.encode()

    words = b"".join(text(f"word {number}") for number in range(300))
    pairs = [
        text("general.architecture") + struct.pack("<I", 8) + text("llama"),
        text("tokenizer.ggml.tokens") + struct.pack("<IIQ", 9, 8, 300) + words,
        text("tokenizer.ggml.scores") + struct.pack("<IIQ", 9, 6, 300) + struct.pack("<300f", *range(300)),
        text("general.languages") + struct.pack("<IIQ", 9, 8, 2) + text("en") + text("de"),
        text("general.license") + struct.pack("<I", 8) + text("mit"),
        text("llama.embedding_length") + struct.pack("<II", 4, 32),
    ]
    tensors = [
        text(name) + struct.pack("<I", len(shape)) + struct.pack(f"<{len(shape)}Q", *shape) + struct.pack("<IQ", 0, 0)
        for name, shape in (("token_embd.weight", (32, 300)), ("output_norm.weight", (32,)))
    ]
    content = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(pairs)) + b"".join(pairs) + b"".join(tensors)
    path.write_bytes(content[: len(content) // 2] if damaged else content)


def test_the_shipped_model(cache: Path) -> None:
    [found] = find_models()
    assert (found.name, found.place, found.kind, found.family) == ("bundled", "shipped", "checkpoint", "llama")
    assert (found.dimension, found.licence, found.languages, found.problem) == (256, "apache-2.0", ("en",), "")
    from safetensors import safe_open

    with safe_open(found.path / "model.safetensors", "np") as file:
        count = sum(file.get_tensor(name).size for name in file.keys())  # noqa: SIM118 - no mapping
    assert found.parameters == count
    assert found.memory == 4 * count


def test_the_hubs_cache(cache: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert hub_cache() == cache
    repository = cache / "models--someone--embedder"
    for revision in ("old", "new"):
        shutil.copytree(tiny_model, repository / "snapshots" / revision)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("new")
    card = "---\nlicense: other\nlicense_name: house-licence\nlanguage:\n- en\n- no\n---\n# A model\n"
    (repository / "snapshots" / "new" / "README.md").write_text(card)
    (cache / "datasets--someone--texts").mkdir()
    bare = cache / "models--someone--pickled" / "snapshots" / "one"
    bare.mkdir(parents=True)
    (bare / "config.json").write_text('{"model_type": "bert", "hidden_size": 8}')
    (bare / "pytorch_model.bin").write_bytes(b"-")
    _, embedder, pickled = find_models()
    assert (embedder.name, embedder.place, embedder.path.name) == ("someone/embedder", "hub", "new")
    assert (embedder.dimension, embedder.licence, embedder.languages) == (32, "house-licence", ("en", "no"))
    assert (pickled.name, pickled.parameters, pickled.licence) == ("someone/pickled", None, None)
    assert "pickles only" in pickled.problem
    monkeypatch.setenv("HF_HUB_CACHE", str(cache / "elsewhere"))
    assert len(find_models()) == 1


def test_a_folder_of_models(cache: Path, tiny_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "models"
    shutil.copytree(tiny_model, folder / "deep" / "tiny")
    make_adapter(tiny_model, folder / "lora")
    write_gguf(folder / "model-Q8_0.gguf")
    write_gguf(folder / "broken.gguf", damaged=True)
    damaged = Path(shutil.copytree(tiny_model, folder / "zz"))
    (damaged / "model.safetensors").write_bytes(b"\xff" * 64)
    broken, tiny, lora, gguf, zz = find_models([folder])[1:]
    assert "damaged GGUF" in broken.problem
    assert (tiny.name, tiny.kind, tiny.dimension, tiny.licence, tiny.languages) == (
        str(folder / "deep" / "tiny"), "checkpoint", 32, None, ()
    )  # fmt: skip
    from searchapp import Encoder

    loaded = sum(parameter.numel() for parameter in Encoder.load(str(tiny.path)).model.parameters())
    assert tiny.parameters == loaded  # without the head of the language model, which is in the file
    assert (lora.kind, lora.base, lora.parameters, lora.problem) == ("adapter", str(tiny_model), loaded, "")
    (folder / "lora" / "adapter_config.json").write_text('{"base_model_name_or_path": "nobody/none"}')
    assert find_models([folder / "lora"])[1].problem == "its base nobody/none is not here"
    for name, other in (("one", "two"), ("two", "one")):
        shutil.copytree(folder / "lora", folder / name)
        (folder / name / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": other}))
    assert "circle" in find_models([folder / "one"])[1].problem
    assert (gguf.kind, gguf.family, gguf.dimension, gguf.parameters) == ("gguf", "llama", 32, 32 * 300 + 32)
    assert (gguf.licence, gguf.languages) == ("mit", ("en", "de"))
    assert "damaged" in zz.problem
    assert find_models([tiny.path])[1:] == [tiny]
    with pytest.raises(ModelError, match="does not exist"):
        find_models([folder / "none"])


def test_a_speed_is_kept_for_the_same_weights(tiny_model: Path, tmp_path: Path) -> None:
    place = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    assert kept_speed(place) is None
    speed = Speed(1234.5, "float32", "cpu", 1, 2.0)
    keep_speed(place, speed)
    assert kept_speed(place) == speed
    with (place / "model.safetensors").open("ab") as file:
        file.write(b" ")
    assert kept_speed(place) is None


def test_a_dense_layer_and_fewer_dimensions(cache: Path, tiny_model: Path, tmp_path: Path) -> None:
    place = Path(shutil.copytree(tiny_model, tmp_path / "st"))
    kinds = [("0", "", "Transformer"), ("1", "1_Pooling", "Pooling"), ("2", "2_Dense", "Dense")]
    listed = [{"name": n, "path": path, "type": f"sentence_transformers.models.{kind}"} for n, path, kind in kinds]
    (place / "modules.json").write_text(json.dumps(listed))
    (place / "2_Dense").mkdir()
    (place / "2_Dense" / "config.json").write_text('{"in_features": 32, "out_features": 48}')
    assert find_models([place])[1].dimension == 48
    (place / "config_sentence_transformers.json").write_text('{"truncate_dim": 16}')
    assert find_models([place])[1].dimension == 16
