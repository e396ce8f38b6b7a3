"""Evaluation on a cluster of three nodes: the searches are those of one process, whatever goes away meanwhile."""

import asyncio
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from etsearch.cluster import ClusterSettings, ray_crew
from etsearch.errors import ClusterError
from etsearch.evaluation.run.folder import read_run
from etsearch.evaluation.run.runner import evaluate
from tests.cluster.conftest import kill_node, wait_until
from tests.evaluations import BASE, recipe, searches
from tests.evaluations import run as run_here

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.filterwarnings("default")]
ROOT = Path(__file__).parents[2]
SLOW = {"generator": "scripted(delay_s=0.1)", "concurrency": 2}
ALL = 24


def run(cluster, out, *, beside=None, meanwhile=None, after=3, workers=None, **changes):
    """Runs on the cluster, and says what was told.

    ``meanwhile`` gets the crew once so many searches are done; what ``beside`` does with it goes on beside the run.
    """
    asked, said = recipe(out, **{**SLOW, **changes}), []

    async def all_of_it():
        left = [meanwhile]

        def see(progress):
            if progress.searches >= after and left[0]:
                left.pop()(crew)
                left.append(None)

        made = ray_crew(asked, ClusterSettings(cluster.address, workers), said.append)
        async with made as crew:

            class Made:
                async def __aenter__(self):
                    return crew

                async def __aexit__(self, *_):
                    pass

            others = [beside(crew)] if beside else []
            outcome, *_ = await asyncio.gather(evaluate(asked, crew=Made(), on_progress=see), *others)
            assert outcome.num_done == ALL
            return said, crew.nodes

    return asyncio.run(all_of_it())


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """The run in one process."""
    path = tmp_path_factory.mktemp("straight") / "run"
    run_here(path, **SLOW)
    return searches(path)


def num_lines(path):
    return (path / "searches.jsonl").read_text().count("\n")


HELD = """
import asyncio
from pathlib import Path
from etsearch.minimath.parts import scripted_generator

def held(steps: int = 0):
    "The scripted generator, which writes no more than so many steps of a solution until there is a file."
    generator = scripted_generator(0.1)
    answer = generator.generate

    async def generate(request):
        while generator.decode(request.prefix).count("\\n") > steps and not Path("GATE").exists():
            await asyncio.sleep(0.05)
        return await answer(request)

    generator.generate = generate
    return generator
"""


@pytest.fixture
def held(tmp_path):
    """A generator that waits, and what lets it go once every one of so many nodes has a search, however late it is."""
    part, gate = tmp_path / "mine.py", tmp_path / "gate"
    part.write_text(HELD.replace("GATE", str(gate)))

    async def busy(crew, num_nodes):
        async with asyncio.timeout(60):
            while sum(node.in_flight > 0 for node in crew.nodes) < num_nodes:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.05)

    async def let_go(crew, num_nodes):
        await busy(crew, num_nodes)
        gate.touch()

    return SimpleNamespace(generator=f"{part}:held", gate=gate, busy=busy, let_go=let_go)


def test_the_searches_are_those_of_one_process(three_nodes, straight, held, tmp_path):
    said, nodes = run(
        three_nodes, tmp_path / "run", generator=held.generator, beside=lambda crew: held.let_go(crew, num_nodes=3)
    )
    assert searches(tmp_path / "run") == straight
    assert said == []
    assert len(nodes) == 3
    assert sum(node.searches for node in nodes) == ALL
    assert all(node.searches for node in nodes)


def test_a_worker_that_is_killed_costs_no_search(three_nodes, straight, held, tmp_path):
    async def kill(crew):
        """Every worker has two searches, each of them kept after its first step: two go on elsewhere."""
        async with asyncio.timeout(60):
            while len(list((tmp_path / "run" / "open").glob("*.json"))) < 6:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.05)
        os.kill(next(iter(crew.pids)), signal.SIGKILL)
        held.gate.touch()

    said, _ = run(three_nodes, tmp_path / "run", generator=f"{held.generator}(steps=1)", beside=kill)
    assert searches(tmp_path / "run") == straight
    assert num_lines(tmp_path / "run") == ALL
    assert any("worker" in text and "went away" in text for text in said)
    assert sum(record.resumed for record in read_run(tmp_path / "run").records) >= 2


def test_a_node_that_is_killed_costs_no_search(three_nodes, straight, tmp_path):
    killed = []
    said, _ = run(three_nodes, tmp_path / "run", meanwhile=lambda _: killed.append(kill_node(three_nodes)))
    assert killed
    assert searches(tmp_path / "run") == straight
    assert num_lines(tmp_path / "run") == ALL
    assert any(killed[0][:6] in text and "went away" in text for text in said)


def test_a_node_that_joins_late_gets_searches(three_nodes, straight, held, tmp_path):
    async def join(crew):
        await held.busy(crew, num_nodes=3)
        three_nodes.add_node(num_cpus=1)  # in this thread, for Ray sets handlers of signals
        await held.let_go(crew, num_nodes=4)

    _, nodes = run(three_nodes, tmp_path / "run", generator=held.generator, beside=join)
    assert searches(tmp_path / "run") == straight
    assert len(nodes) == 4
    assert all(node.searches for node in nodes)


COMMAND = (
    *(
        "eval",
        BASE["data"],
        "--strategy",
        "best_of_n,rebase,ets",
        "--width",
        "4",
        "--limit",
        "4",
        "--prm",
        "scripted",
    ),
    *("--generator", SLOW["generator"], "--concurrency", "2"),
)


def start(*more):
    command = [sys.executable, "-m", "etsearch", *COMMAND, *more]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_the_driver_killed_a_laptop_finishes_the_run_and_the_other_way_round(three_nodes, straight, tmp_path):
    expected = {key: value for key, value in straight.items() if key.width == 4}
    for first, second in ((("--ray", three_nodes.address), ()), ((), ("--ray", three_nodes.address))):
        path = tmp_path / f"run{len(first)}"
        with start("--out", str(path), *first) as driver:
            wait_until(lambda path=path: (path / "searches.jsonl").exists() and num_lines(path) >= 3)
            driver.send_signal(signal.SIGKILL)
        assert num_lines(path) < len(expected)
        with start("--out", str(path), *second) as driver:
            told = driver.communicate(timeout=100)[0]
        assert driver.returncode == 0, told
        assert searches(path) == expected
        assert num_lines(path) == len(expected) == 12
        assert "12 searches done, 0 failed" in told


def test_a_stopped_driver_says_how_to_go_on(three_nodes, tmp_path):
    with start("--out", str(tmp_path / "run"), "--ray", three_nodes.address) as driver:
        wait_until(lambda: (tmp_path / "run" / "searches.jsonl").exists() and num_lines(tmp_path / "run") >= 1)
        driver.send_signal(signal.SIGTERM)
        told = driver.communicate(timeout=60)[0]
    assert driver.returncode == 128 + signal.SIGTERM, told
    assert "the same command goes on from there" in told


PART = """
import time
from pathlib import Path
from etsearch.errors import ConfigError
from etsearch.generators.scripted import ScriptedGenerator
from etsearch.minimath.parts import scripted_generator

def odd(delay_s: float = 0.0):
    "A generator that is another one, or cannot be made, on the second worker that asks for it, which takes its time."
    for number in range(3):
        try:
            Path(f"MARKER-{number}").open("x").close()
            break
        except FileExistsError:
            pass
    if number == 1:
        time.sleep(4)
        TROUBLE
    return scripted_generator(delay_s)
"""


@pytest.mark.parametrize(
    ("trouble", "reason"),
    [
        ("raise ConfigError('there is no model on this node')", "ConfigError: there is no model on this node"),
        ("return ScriptedGenerator(lambda so_far, rng: 'x')", "identity of the generator is"),
    ],
)
def test_a_worker_that_differs_is_refused_by_name(three_nodes, straight, tmp_path, trouble, reason):
    part = tmp_path / "mine.py"
    part.write_text(PART.replace("MARKER", str(tmp_path / "marker")).replace("TROUBLE", trouble))
    said, nodes = run(three_nodes, tmp_path / "run", generator=f"{part}:odd(delay_s=0.2)")
    assert len(said) == 1
    assert re.match(rf"worker \d+ on \S+ \(\w+\) is refused: {reason}", said[0])
    assert sum(node.workers for node in nodes) == 2
    assert searches(tmp_path / "run") == straight


def test_where_no_worker_can_be_used(three_nodes, tmp_path):
    part = tmp_path / "mine.py"
    part.write_text("from etsearch.errors import ConfigError\ndef bad(a: int = 1):\n    raise ConfigError('no GPU')\n")
    with pytest.raises(ClusterError, match=r"no worker can be used; worker \d on .* is refused: ConfigError: no GPU"):
        run(three_nodes, tmp_path / "run", generator=f"{part}:bad")
    assert not (tmp_path / "run").exists()
