"""The gateway's figures, for Prometheus and for its page."""

import time
from collections import deque
from dataclasses import asdict
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from etsearch.serving.running import Running
from etsearch.sharing import MarketFigures

KEPT: Final = 600
"""Looks at each engine's market that the page can show."""
KEPT_ENDS: Final = 10_000
"""Searches that are done, of which it is remembered when, and how long they took."""
_BUCKETS: Final = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1000)


class Figures:
    """What the gateway counts."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        made: dict[str, Any] = {"registry": self.registry, "namespace": "etsearch"}
        self.requests = Counter("requests", "Requests, by route and status.", ["route", "status"], **made)
        self.searches = Counter("searches", "Searches that are over.", ["model", "status", "stop_reason"], **made)
        self.latency = Histogram("search_seconds", "From request to end.", ["model"], buckets=_BUCKETS, **made)
        self.tokens = Counter("tokens", "Tokens, by kind: prompt, generated, kv.", ["model", "kind"], **made)
        self.by_key = Counter("searches_by_key", "Searches that are over, by key.", ["key"], **made)
        self.price = Gauge("kv_price", "Price of a KV token.", ["engine"], **made)
        self.cache = Gauge("kv_cache_tokens", "KV tokens: of the cache, and predicted.", ["engine", "kind"], **made)
        self.open = Gauge("searches_open", "Searches, holding KV or waiting.", ["engine", "kind"], **made)
        self._looks: dict[str, deque[dict[str, Any]]] = {}
        self.ended: deque[tuple[float, float]] = deque(maxlen=KEPT_ENDS)
        """When searches were done, and how long they took."""

    def note_end(self, running: Running) -> None:
        """A search is over."""
        result, model = running.result, running.asked.model
        seconds = (running.finished_at or time.time()) - running.created_at
        self.searches.labels(model, str(running.status), str(result.stop_reason) if result else "none").inc()
        self.latency.labels(model).observe(seconds)
        self.by_key.labels(running.key.name).inc()
        if result is not None:
            self.ended.append((time.time(), seconds))
            self.tokens.labels(model, "prompt").inc(result.tree.prefix_tokens(0))
            self.tokens.labels(model, "generated").inc(result.usage.generated_tokens)
            self.tokens.labels(model, "kv").inc(result.usage.kv_tokens)

    def look(self, engine: str, market: MarketFigures, cache_use: float | None) -> None:
        """How a market stands."""
        self.price.labels(engine).set(market.price)
        self.open.labels(engine, "running").set(market.num_running)
        self.open.labels(engine, "waiting").set(market.num_waiting)
        self.cache.labels(engine, "predicted").set(market.predicted_tokens)
        if market.cache_tokens is not None:
            self.cache.labels(engine, "capacity").set(market.cache_tokens)
            if cache_use is not None:
                self.cache.labels(engine, "used").set(cache_use * market.cache_tokens)

        used = None if cache_use is None or market.cache_tokens is None else cache_use * market.cache_tokens
        seen = {"at": time.time(), "engine": engine, "used_tokens": used, **asdict(market)}
        self._looks.setdefault(engine, deque(maxlen=KEPT)).append(seen)

    def looks(self, since: float) -> list[dict[str, Any]]:
        """The looks at all engines after a moment, each engine's the oldest first."""
        return [look for looks in self._looks.values() for look in looks if look["at"] > since]

    @property
    def mean_seconds(self) -> float:
        """What a search took lately, from its coming to its end; 1 before any ended."""
        lately = list(self.ended)[-50:]
        return sum(seconds for _, seconds in lately) / len(lately) if lately else 1.0

    def text(self) -> bytes:
        """All of it, as Prometheus reads it."""
        return generate_latest(self.registry)
