"""Clients of other people against the server: each has the vectors and the order that the library has.

Those of Python are the extra ``clients``; what is not installed is skipped.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from searchapp.index import build
from searchapp.search import Index
from tests.serve.running import serving

TOKEN = "a-token-of-the-tests"
TEXTS = ["bees fly and make honey", "the quick brown fox", "é ∀ 𝄞 \u2028 — “q”", "how do you measure quality? " * 40]
QUERY = "how do bees make honey"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, tiny_encoder) -> Path:
    root = tmp_path_factory.mktemp("clients")
    (root / "d.jsonl").write_text(json.dumps({"_id": "d", "text": "bees"}))
    build([str(root / "d.jsonl")], root / "ix", tiny_encoder)
    return root / "ix"


@pytest.fixture(scope="module")
def url(place: Path):
    with serving({"ix": place}, token=TOKEN) as running:
        yield running.url


@pytest.fixture(scope="module")
def encoder(place: Path):
    return Index.open(place).encoder


@pytest.fixture(scope="module")
def model(url: str) -> str:
    asked = urllib.request.Request(f"{url}/v1/models", headers={"authorization": f"Bearer {TOKEN}"})
    with urllib.request.urlopen(asked) as answer:
        return json.load(answer)["data"][0]["id"]


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # or it asks another host


def is_equal(found, wanted: np.ndarray) -> bool:
    vectors = np.array(found, dtype=np.float64)
    return vectors.shape == wanted.shape and bool(np.abs(vectors - wanted).max() < 1e-6)


def order(encoder) -> list[int]:
    return np.argsort(-(encoder.encode_documents(TEXTS) @ encoder.encode_queries(QUERY)[0]), kind="stable").tolist()


@pytest.mark.parametrize("form", ["float", "base64"])
def test_urllib(url: str, encoder, form: str) -> None:
    import base64

    body = json.dumps({"input": TEXTS, "model": "", "encoding_format": form}).encode()
    asked = urllib.request.Request(
        f"{url}/v1/embeddings", body, {"content-type": "application/json", "authorization": f"bearer {TOKEN}"}
    )
    with urllib.request.urlopen(asked) as answer:
        found = [item["embedding"] for item in json.load(answer)["data"]]
    if form == "base64":
        found = [np.frombuffer(base64.b64decode(item), dtype="<f4") for item in found]
    assert is_equal(found, encoder.encode(TEXTS))


def test_curl(url: str, encoder, model: str) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    body = json.dumps({"input": TEXTS, "model": f"{model}:query"})
    words = ["curl", "-sS", "--fail-with-body", f"{url}/v1/embeddings", "-H", f"Authorization: Bearer {TOKEN}",
             "-H", "Content-Type: application/json", "-d", "@-"]  # fmt: skip
    done = subprocess.run(words, input=body, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr + done.stdout
    assert is_equal([item["embedding"] for item in json.loads(done.stdout)["data"]], encoder.encode_queries(TEXTS))


def test_openai(url: str, encoder, model: str) -> None:
    openai = pytest.importorskip("openai")
    client = openai.OpenAI(base_url=f"{url}/v1", api_key=TOKEN, max_retries=0)
    assert model in [one.id for one in client.models.list()]
    for form in ({}, {"encoding_format": "float"}, {"encoding_format": "base64"}, {"dimensions": encoder.dim}):
        found = client.embeddings.create(model=model, input=TEXTS, **form)
        if form.get("encoding_format") != "base64":  # which it hands over as it came, where it was asked for
            assert is_equal([item.embedding for item in found.data], encoder.encode(TEXTS))
        assert found.usage.prompt_tokens == found.usage.total_tokens > len(TEXTS)
    found = client.embeddings.create(model=model, input=QUERY, extra_body={"input_type": "query"})
    assert is_equal([found.data[0].embedding], encoder.encode_queries(QUERY))
    with pytest.raises(openai.BadRequestError, match="dimensions is 3"):
        client.embeddings.create(model=model, input=TEXTS, dimensions=3)
    with pytest.raises(openai.NotFoundError, match="no model is named"):
        client.embeddings.create(model="text-embedding-3-small", input=TEXTS)
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=f"{url}/v1", api_key="wrong", max_retries=0).models.list()


@pytest.mark.parametrize("version", [1, 2])
def test_cohere(url: str, encoder, model: str, version: int) -> None:
    cohere = pytest.importorskip("cohere")
    client = (cohere.Client if version == 1 else cohere.ClientV2)(api_key=TOKEN, base_url=url)
    found = client.rerank(query=QUERY, documents=TEXTS, model=model, top_n=3)
    assert [one.index for one in found.results] == order(encoder)[:3]
    scores = encoder.encode_documents(TEXTS) @ encoder.encode_queries(QUERY)[0]
    for one in found.results:
        assert one.relevance_score == pytest.approx(float(scores[one.index]), abs=1e-6)


def test_litellm(url: str, encoder, model: str) -> None:
    litellm = pytest.importorskip("litellm")
    found = litellm.embedding(model=f"openai/{model}", input=TEXTS, api_base=f"{url}/v1", api_key=TOKEN)
    assert is_equal([item["embedding"] for item in found.data], encoder.encode(TEXTS))
    for provider, base, more in (
        ("cohere", f"{url}/v1/rerank", {}),
        ("jina_ai", f"{url}/v1/rerank", {}),
        ("hosted_vllm", url, {}),
        ("infinity", url, {"return_documents": False}),  # whose documents come back as strings
    ):
        answer = litellm.rerank(
            model=f"{provider}/{model}", query=QUERY, documents=TEXTS, top_n=2, api_base=base, api_key=TOKEN, **more
        )
        assert [one["index"] for one in answer.results] == order(encoder)[:2], provider


def test_langchain(url: str, encoder, model: str) -> None:
    langchain = pytest.importorskip("langchain_openai")
    given = {"model": model, "base_url": f"{url}/v1", "api_key": TOKEN}
    client = langchain.OpenAIEmbeddings(**given, check_embedding_ctx_length=False)
    assert is_equal(client.embed_documents(TEXTS), encoder.encode(TEXTS))
    assert is_equal([client.embed_query(QUERY)], encoder.encode(QUERY))


def test_llama_index(url: str, encoder, model: str) -> None:
    llama_index = pytest.importorskip("llama_index.embeddings.openai")
    client = llama_index.OpenAIEmbedding(
        model_name=model, api_base=f"{url}/v1", api_key=TOKEN, embed_batch_size=3, max_retries=0
    )
    plain = [text.replace("\n", " ") for text in TEXTS]  # as that client sends them
    assert is_equal(client.get_text_embedding_batch(TEXTS), encoder.encode(plain))


NODE = """
const OpenAI = require('openai').OpenAI ?? require('openai');
const client = new OpenAI({baseURL: process.argv[1], apiKey: process.argv[2], maxRetries: 0});
const input = JSON.parse(require('fs').readFileSync(0));
(async () => {
  const found = await client.embeddings.create({model: process.argv[3], input});
  console.log(JSON.stringify(found.data.map(item => item.embedding)));
})();
"""


@pytest.mark.slow
def test_openai_of_node(url: str, encoder, model: str) -> None:
    """Install it somewhere by ``npm install openai``, and name its ``node_modules`` by NODE_PATH."""
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    if subprocess.run(["node", "-e", "require('openai')"], capture_output=True, env=os.environ).returncode:
        pytest.skip("node finds no package openai; `npm install openai`, and NODE_PATH to its node_modules")
    done = subprocess.run(
        ["node", "-e", NODE, f"{url}/v1", TOKEN, model], input=json.dumps(TEXTS), capture_output=True, text=True,
        timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert is_equal(json.loads(done.stdout), encoder.encode(TEXTS))


@pytest.mark.slow
def test_the_description_of_the_api(url: str) -> None:
    """Requests that schemathesis makes of ``/openapi.json``: no answer is a fault, and all are as it says."""
    pytest.importorskip("schemathesis")
    program = shutil.which("schemathesis") or shutil.which("st")
    if program is None:
        pytest.skip("the program schemathesis is not on the PATH")
    words = [program, "run", f"{url}/openapi.json", "-H", f"Authorization: Bearer {TOKEN}", "--max-examples", "15",
             "--checks", "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance",
             "--phases", "examples,coverage,fuzzing", "--seed", "7", "--request-timeout", "20", "--suppress-health-check", "all"]  # fmt: skip
    done = subprocess.run(words, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stdout[-6_000:]
