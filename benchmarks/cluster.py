"""How do searches a second grow with the workers of a cluster, and how many can its driver record?

    python benchmarks/cluster.py --json benchmarks/records/cluster.json
    python benchmarks/cluster.py --workers 1 4 --each 8

Needs the extra 'ray'. No model: the scripted generator and reward model wait before they answer, as an engine takes its
time, so that two cores carry sixteen workers. Every worker has ``--in-flight`` searches at once, and there are
``--each`` searches for each worker. Seconds run from the moment that all workers are ready to the last
record; the end, where the last searches run and some workers have nothing left to do, is in them.
``efficiency`` is searches a second over those of one worker, over the number of workers.

The driver alone: a crew that answers at once with what real searches of that width gave, every depth and the record, so
that what is left is what the driver does: it writes the state after every depth, then the tree and the line, each as
safely as in every run. Over Ray it must receive them too, which the first table holds.
"""

import argparse
import asyncio
import json
import tempfile
import time
from contextlib import asynccontextmanager
from pathlib import Path

from facts import in_words, machine

from etsearch.cluster import ClusterSettings, ray_crew
from etsearch.evaluation.run.crew import SearchDone, Task
from etsearch.evaluation.run.recipe import Recipe
from etsearch.evaluation.run.runner import dataset_of, evaluate, here

DATA = "minimath:test"
CPUS_OF_A_WORKER = 0.1
"""More workers than cores: they wait most of the time."""


def main():
    options = parse_options()
    facts = machine("ray")
    print(in_words(facts), end="\n\n")
    scaling = []
    for workers in options.workers:
        row = asyncio.run(on_cluster(workers, options))
        row["efficiency"] = row["per_second"] / workers / (scaling or [row])[0]["per_second"] * options.workers[0]
        scaling.append(row)
        print(row, flush=True)
    recording = []
    for width in options.widths:
        recording.append(asyncio.run(recorded(width)))
        print(recording[-1], flush=True)
    if options.json:
        asked = {name: getattr(options, name) for name in ("each", "in_flight", "delay_s", "width")}
        values = {"machine": facts, "asked": asked, "scaling": scaling, "recording": recording}
        options.json.write_text(json.dumps(values, indent=2) + "\n")


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4, 8, 16], help="(default: %(default)s)")
    parser.add_argument("--each", type=int, default=16, help="searches for each worker (default: %(default)s)")
    parser.add_argument("--in-flight", type=int, default=2, help="searches at once on a worker (default: %(default)s)")
    parser.add_argument("--delay-s", type=float, default=0.5, help="of each answer (default: %(default)s)")
    parser.add_argument("--width", type=int, default=4, help="of the searches (default: %(default)s)")
    parser.add_argument("--widths", type=int, nargs="+", default=[4, 64, 256], help="where the driver is alone")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here as well")
    return parser.parse_args()


def make_recipe(folder, width, delay_s, limit, concurrency):
    parts = {"generator": f"scripted(delay_s={delay_s})", "prm": "scripted", "strategies": ["rebase"]}
    values = {"data": DATA, **parts, "widths": [width], "limit": limit, "concurrency": concurrency}
    return Recipe.of({**values, "out": str(folder)})


@asynccontextmanager
async def as_it_is(crew):
    """A crew that is made already."""
    yield crew


async def on_cluster(workers, options):
    """Searches a second with so many workers."""
    with tempfile.TemporaryDirectory() as folder:
        limit = workers * options.each
        recipe = make_recipe(folder, options.width, options.delay_s, limit, options.in_flight)
        settings = ClusterSettings("local", workers, cpus=CPUS_OF_A_WORKER)
        async with ray_crew(recipe, settings, print) as crew:
            while len(crew.pids) < workers:  # noqa: ASYNC110
                await asyncio.sleep(0.2)
            started = time.monotonic()
            outcome = await evaluate(recipe, crew=as_it_is(crew))
            seconds = time.monotonic() - started
        assert outcome.num_done == limit
    return {"workers": workers, "searches": limit, "seconds": seconds, "per_second": limit / seconds}


class Instant:
    """A crew that answers with what is there already."""

    nodes = ()

    def __init__(self, identities, told):
        self.identities, self._told = identities, told
        self._room = asyncio.Semaphore(64)

    async def seat(self, concurrency):  # noqa: ARG002
        await self._room.acquire()
        return self

    def leave(self):
        self._room.release()

    async def search(self, task, kept, on_depth):  # noqa: ARG002
        depths, done = self._told[task.seed]
        for depth in depths:
            on_depth(depth)
            await asyncio.sleep(0)
        return SearchDone(done.record.model_copy(update=task.key._asdict()), done.tree)


async def recorded(width, count=8):
    """Searches a second that the driver records, of that width."""
    with tempfile.TemporaryDirectory() as folder:
        recipe = make_recipe(folder, width, 0.0, count, 1).model_copy(update={"seeds": tuple(range(25))})
        told = {}
        async with here(recipe) as crew:
            for seed, problem in enumerate(dataset_of(recipe).problems):
                depths = []
                done = await crew.search(task_of(recipe, problem, seed), None, depths.append)
                told[seed] = (depths, done)
            identities = crew.identities
        told = {seed: told[seed % count] for seed in recipe.seeds}
        started = time.monotonic()
        outcome = await evaluate(recipe, crew=as_it_is(Instant(identities, told)))
        seconds = time.monotonic() - started
        assert outcome.num_done == count * len(recipe.seeds)
    states = [depth.content for depths, _ in told.values() for depth in depths if depth.content]
    return {
        "width": width,
        "searches": outcome.num_done,
        "per_second": outcome.num_done / seconds,
        "depths": sum(len(depths) for depths, _ in told.values()) / len(told),
        "state_kb": sum(map(len, states)) / len(states) / 1000,
    }


def task_of(recipe, problem, seed):
    return Task(problem, next(recipe.arms()), seed, 0)


if __name__ == "__main__":
    main()
