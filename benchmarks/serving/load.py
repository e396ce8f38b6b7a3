"""Two hundred clients at once on a gateway: is any request lost, does memory grow, do two keys get the same?

    python benchmarks/serving/load.py --json benchmarks/records/serving-load.json
    python benchmarks/serving/load.py --clients 20 --seconds 20

``ets serve`` is a process of its own, with the miniature models and a small cache, so that most clients wait. Each
client asks again as soon as it is answered, every other time for a stream; half of them have one key, half another of
the same weight. Its memory is read every five seconds.
"""

import argparse
import asyncio
import json
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import httpx
import yaml

sys.path.insert(0, str(Path(__file__).parents[1]))

from facts import machine

from etsearch.evaluation.datasets import minimath_problems
from etsearch.serving.keys import add_key

LOOK_S = 5.0


def start(folder, args):
    """The gateway, its address, and its keys."""
    keys = {name: add_key(folder / "keys.yaml", {"name": name}) for name in ("one", "other")}
    profile = {"generator": f"minimath(num_kv_blocks={args.blocks})", "width": args.width}
    config = {"port": 0, "keys": str(folder / "keys.yaml"), "jobs": str(folder / "jobs.sqlite"), "most_open": 1000}
    path = folder / "gateway.yaml"
    path.write_text(yaml.safe_dump({**config, "profiles": {"ets": profile}}))
    log = (folder / "log").open("w")
    process = subprocess.Popen(
        [sys.executable, "-m", "etsearch", "serve", str(path)], stdout=subprocess.PIPE, stderr=log, text=True
    )
    return process, process.stdout.readline().split()[-1], keys


def memory_mb(process):
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


async def one_client(number, url, name, key, until, seen):
    """Asks until the time is over."""
    problems = minimath_problems("test").problems
    headers = {"Authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=300) as http:
        turn = 0
        while time.monotonic() < until:
            problem = problems[(number * 37 + turn) % len(problems)]
            body = {"model": "ets", "messages": [{"role": "user", "content": problem.question}], "seed": turn}
            body["stream"] = bool(turn % 2)
            turn += 1
            seen["asked"] += 1
            began = time.monotonic()
            try:
                answer = await http.post("/v1/chat/completions", json=body)
            except httpx.HTTPError as error:
                seen[f"lost: {type(error).__name__}"] += 1
                continue
            whole = answer.status_code == 200 and (not body["stream"] or "\ndata: [DONE]\n" in answer.text)
            if not whole or '"error"' in answer.text[:12]:
                seen[f"lost: {answer.status_code}"] += 1
                continue
            seen["answered"] += 1
            seen[f"answered, {name}"] += 1
            seen["right"] += f"The answer is {problem.answer}." in "".join(_texts(answer, stream=body["stream"]))
            seen["seconds"] += time.monotonic() - began


def _texts(answer, *, stream):
    if not stream:
        return [answer.json()["choices"][0]["message"]["content"]]
    events = [line[6:] for line in answer.text.splitlines() if line.startswith("data: {")]
    choices = [choice for event in events for choice in json.loads(event).get("choices", [])]
    return [choice["delta"].get("content", "") for choice in choices]


async def load(args, process, url, keys):
    until, seen, memory = time.monotonic() + args.seconds, Counter(), []

    async def watch():
        while True:
            memory.append(round(memory_mb(process), 1))
            await asyncio.sleep(LOOK_S)

    watching = asyncio.create_task(watch())
    names = list(keys)
    clients = [one_client(n, url, names[n % 2], keys[names[n % 2]], until, seen) for n in range(args.clients)]
    await asyncio.gather(*clients)
    watching.cancel()
    return seen, memory


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--blocks", type=int, default=560)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        process, url, keys = start(Path(name), args)
        try:
            began = time.monotonic()
            seen, memory = asyncio.run(load(args, process, url, keys))
            seconds = time.monotonic() - began
        finally:
            process.send_signal(signal.SIGTERM)
            code = process.wait(60)
            process.stdout.close()
    by_key = [seen["answered, one"], seen["answered, other"]]
    third = max(1, len(memory) // 3)
    record = {
        "machine": machine("openvino-genai", "openvino", "starlette", "uvicorn"),
        "command": "python benchmarks/serving/load.py --json benchmarks/records/serving-load.json",
        "asked": {key: value for key, value in vars(args).items() if key != "json"},
        "seconds": round(seconds, 1),
        "requests": seen["asked"],
        "answered": seen["answered"],
        "lost": {key: value for key, value in seen.items() if key.startswith("lost")},
        "right": seen["right"] / max(1, seen["answered"]),
        "by_key": by_key,
        "larger_key_over_smaller": max(by_key) / max(1, min(by_key)),
        "mean_latency_s": seen["seconds"] / max(1, seen["answered"]),
        "memory_mb": memory,
        "memory_second_third_mb": statistics.mean(memory[third : 2 * third] or memory),
        "memory_last_third_mb": statistics.mean(memory[2 * third :] or memory),
        "exit_code": code,
    }
    print(json.dumps(record, indent=1))
    if args.json:
        args.json.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
