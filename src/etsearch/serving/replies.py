"""What is answered, in OpenAI's shapes."""

from collections.abc import Mapping
from typing import Any, Final

from etsearch.loop.result import SearchResult
from etsearch.loop.state import SearchState
from etsearch.loop.voting import vote
from etsearch.serving.config import Profile
from etsearch.serving.running import Running, Status
from etsearch.tree import ROOT
from etsearch.types import EndReason, EngineFigures, StopReason
from etsearch.viewer import to_view

OWNER: Final = "etsearch"
_CUT: Final = (StopReason.DEADLINE, StopReason.TOKENS)


def completion(running: Running) -> dict[str, Any]:
    """A search that is done, as a chat completion."""
    result = running.result
    assert result is not None
    message = {"role": "assistant", "content": running.answer, "refusal": None}
    return {
        "id": running.id,
        "object": "chat.completion",
        "created": int(running.created_at),
        "model": running.asked.model,
        "choices": [{"index": 0, "message": message, "finish_reason": finish_reason(result), "logprobs": None}],
        "usage": usage(result),
        "etsearch": facts(running),
    }


def chunk(running: Running, delta: Mapping[str, str], finish: str | None = None, **more: Any) -> dict[str, Any]:
    """A piece of a completion that is streamed."""
    return {
        "id": running.id,
        "object": "chat.completion.chunk",
        "created": int(running.created_at),
        "model": running.asked.model,
        "choices": [{"index": 0, "delta": dict(delta), "finish_reason": finish, "logprobs": None}],
        **more,
    }


def last_chunk(running: Running) -> dict[str, Any]:
    """The piece that tells why it ended, and what it cost."""
    assert running.result is not None
    return chunk(running, {}, finish_reason(running.result), etsearch=facts(running))


def usage_chunk(running: Running) -> dict[str, Any]:
    """The piece that tells the usage, for those who ask for it."""
    assert running.result is not None
    return {**chunk(running, {}), "choices": [], "usage": usage(running.result)}


def finish_reason(result: SearchResult) -> str:
    """``stop`` for an answer that came to its end, ``length`` for one that a limit cut."""
    if result.best is None or result.stop_reason in _CUT:
        return "length"
    return "stop" if result.best.end_reason is EndReason.ANSWERED else "length"


def usage(result: SearchResult) -> dict[str, Any]:
    """Prompt tokens, and all tokens that were generated; those that are not in the answer count as thought."""
    prompt = result.tree.prefix_tokens(ROOT)
    generated = result.usage.generated_tokens + result.usage.dropped_tokens
    own = result.tree.prefix_tokens(result.best.node) - prompt if result.best else 0
    return {
        "prompt_tokens": prompt,
        "completion_tokens": generated,
        "total_tokens": prompt + generated,
        "completion_tokens_details": {"reasoning_tokens": max(0, generated - own)},
    }


def facts(running: Running) -> dict[str, Any]:
    """What the search was, beside its answer."""
    result = running.result
    assert result is not None
    prices = [float(depth.figures.get("price", 0.0)) for depth in result.depths if depth.nodes]
    return {
        "id": running.id,
        "answer": result.answer,
        "aggregation": str(result.aggregation),
        "stop_reason": str(result.stop_reason),
        "stop_message": result.stop_reason.message,
        "width": result.width,
        "seed": result.seed,
        "depth": len(result.depths),
        "num_continuations": result.usage.num_calls,
        "kv_tokens": result.usage.kv_tokens,
        "kv_tokens_unshared": result.usage.kv_tokens_unshared,
        "peak_kv_tokens": result.usage.peak_kv_tokens,
        "price": sum(prices) / len(prices) if prices else 0.0,
        "prices": prices,
        "votes": _votes(result),
        "seconds": {phase: round(seconds, 6) for phase, seconds in result.usage.seconds.items()},
        "num_failures": len(result.failures),
        "notes": list(result.notes),
    }


def _votes(result: SearchResult) -> list[dict[str, Any]]:
    return [{"answer": v.answer, "weight": v.weight, "count": v.count} for v in result.votes]


def search(running: Running, *, with_tree: bool) -> dict[str, Any]:
    """A search of its own: where it stands, its votes so far, its tree if that is wanted, its answer in the end."""
    state, asked = running.snapshot, running.asked
    so_far = _so_far(running, state)
    values: dict[str, Any] = {
        "id": running.id,
        "object": "search",
        "created": int(running.created_at),
        "model": asked.model,
        "status": str(running.status),
        "background": asked.background,
        "width": asked.settings.width,
        "seed": asked.settings.seed,
        "depth": len(state.depths) if state else 0,
        "price": running.price,
        "kv_tokens": state.depths[-1].kv_tokens if state and state.depths else 0,
        "content": running.answer if running.status is Status.DONE else running.decided.text,
        "votes": _votes(so_far) if so_far else [],
        "completion": completion(running) if running.result is not None else None,
        "error": running.failure.body["error"] if running.failure else None,
        **(asked.labels or {}),
    }
    if with_tree:
        values["tree"] = tree(running)
    return values


def _so_far(running: Running, state: SearchState | None) -> SearchResult | None:
    if running.result is not None or state is None:
        return running.result
    return vote(state, running.asked.settings, StopReason.EXHAUSTED, EngineFigures())


def tree(running: Running) -> dict[str, Any] | None:
    """The tree after the last depth that is over, as the viewer draws it; None before the first."""
    state = running.snapshot
    if state is None:
        return None
    stop = str(running.result.stop_reason) if running.result else None
    return dict(to_view(running.asked.model, state, running.asked.settings, stop).values)


def models(profiles: Mapping[str, Profile], created: int) -> dict[str, Any]:
    """The profiles, as models."""
    return {"object": "list", "data": [model(name, profile, created) for name, profile in profiles.items()]}


def model(name: str, profile: Profile, created: int) -> dict[str, Any]:
    """A profile, as a model. Where its parts are is not said."""
    return {
        "id": name,
        "object": "model",
        "created": created,
        "owned_by": OWNER,
        "etsearch": {
            "description": profile.description,
            "strategy": profile.strategy.partition("(")[0].rpartition(":")[2] or profile.strategy,
            "width": profile.search.width,
            "most_width": profile.widest,
            "allow": list(profile.allow),
        },
    }
