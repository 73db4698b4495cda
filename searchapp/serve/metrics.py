"""What the server counts, for Prometheus. No text of a query, document or token is ever a label."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, generate_latest

BUCKETS = tuple(1e-4 * 1.5**step for step in range(32))  # 0.1 ms to 29 s
SIZES = tuple(float(2**step) for step in range(16))


class Metrics:
    """The server's counters in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._answered: dict[tuple[str, int], tuple[Counter, Histogram]] = {}
        self.requests = self._counter("requests", "Answers by route and status.", "route", "code")
        self.seconds = self._histogram("request_seconds", "From the request's head to the answer's last byte.", "route")
        self.queue = self._histogram("queue_seconds", "Waiting for the model.", "lane")
        self.rejected = self._counter("rejected", "Requests refused before any work.", "reason")
        self.encoded = self._histogram("encode_seconds", "One batch through the model.")
        self.batch_texts = Histogram(
            "searchapp_encode_batch_texts", "Texts of a batch.", registry=self.registry, buckets=SIZES
        )
        self.tokens = self._counter("tokens", "Tokens that the model has read.")
        self.truncated = self._counter("truncated", "Texts longer than the model reads.")
        self.search = self._histogram("search_seconds", "A step of a search, by its name.", "stage")
        self.rescored = self._counter("candidates_rescored", "Documents compared by their stored vectors.")
        self.pairs = self._counter("rerank_pairs", "Query and document pairs that a reranker has scored.")
        self.reloads = self._counter("reloads", "Newer states of an index that were taken.", "index")
        self.reload_failures = self._counter("reload_failures", "Newer states that could not be taken.", "index")
        self.generation = self._gauge("generation", "The state of an index that answers.", "index")
        self.documents = self._gauge("documents", "Documents of that state.", "index")
        self.built = Info("searchapp_build", "What runs.", registry=self.registry)

    def answered(self, route: str, status: int, seconds: float) -> None:
        """One request was answered. The counters of a route and status are looked up once."""
        key = route, status
        if key not in self._answered:
            self._answered[key] = self.requests.labels(route, str(status)), self.seconds.labels(route)
        count, spent = self._answered[key]
        count.inc()
        spent.observe(seconds)

    def batch(self, seconds: float, texts: int, tokens: int, cut: int) -> None:
        """One batch went through the model."""
        self.encoded.observe(seconds)
        self.batch_texts.observe(texts)
        self.tokens.inc(tokens)
        if cut:
            self.truncated.inc(cut)

    def watch(self, name: str, text: str, read: Callable[[], float]) -> None:
        """A figure that is read when it is asked for."""
        Gauge(f"searchapp_{name}", text, registry=self.registry).set_function(read)

    def text(self) -> bytes:
        """All of it, in the text format."""
        return bytes(generate_latest(self.registry))

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"searchapp_{name}", text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, *labels: str) -> Histogram:
        return Histogram(f"searchapp_{name}", text, labels, registry=self.registry, buckets=BUCKETS)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"searchapp_{name}", text, labels, registry=self.registry)
