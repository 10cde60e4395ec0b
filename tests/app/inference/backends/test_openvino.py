"""OpenVINO's part runs in processes of their own where it must be the first use in a process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from app.concurrency.executor import NICENESS
from app.inference.backends import openvino
from app.inference.backends.base import Batch, ExecutionConfig, LoadError, Predict
from app.inference.backends.devices import has_bfloat16
from app.inference.backends.openvino import NotInstalledError, OpenVinoModel, RequestPool
from app.inference.backends.precision import TOLERANCE, probe_picture
from app.inference.backends.tensorflow import TensorFlowModel
from app.settings import BUILT_IN_MODEL
from model import contract
from tests.conftest import TINY_SIZE
from training.evaluation.predict import load_any_size_network

# float32 on both sides; the convolutions add in another order than NumPy's mean.
FLOAT32_NOISE = 1e-5
BUILT_IN = BUILT_IN_MODEL / contract.SAVED_MODEL_DIR


def random_batch(count: int) -> Batch:
    return np.random.default_rng(3).integers(0, 256, (count, TINY_SIZE, TINY_SIZE, 3), np.uint8)


def tiny(artifact: Path, lanes: int = 1) -> OpenVinoModel:
    return OpenVinoModel(
        artifact / contract.SAVED_MODEL_DIR, TINY_SIZE, ExecutionConfig("cpu", threads=1, lanes=lanes)
    )


@pytest.fixture(scope="module")
def exact() -> np.ndarray:
    """TensorFlow's alpha of the probe, by the built-in model."""
    size = contract.read_manifest(BUILT_IN_MODEL).input_size
    return TensorFlowModel(BUILT_IN, ExecutionConfig("cpu", 1)).reference()(probe_picture(size))


def difference(run: Predict, exact: np.ndarray) -> float:
    alphas = run(probe_picture(exact.shape[1]))
    assert (alphas.shape, alphas.dtype) == (exact.shape, np.float32)
    return float(np.abs(alphas - exact).mean())


@pytest.mark.slow
def test_built_in_model_gives_tensorflows_alphas(exact: np.ndarray) -> None:
    model = OpenVinoModel(BUILT_IN, exact.shape[1], ExecutionConfig("cpu", 1))
    assert difference(model.reference(), exact) < FLOAT32_NOISE
    assert difference(model.load("float32"), exact) < FLOAT32_NOISE


@pytest.mark.skipif(not has_bfloat16(), reason="this CPU has no bfloat16")
@pytest.mark.slow
def test_built_in_model_in_bfloat16_is_close_to_tensorflows_float32(exact: np.ndarray) -> None:
    quick = OpenVinoModel(BUILT_IN, exact.shape[1], ExecutionConfig("cpu", 1)).load("bfloat16")
    assert FLOAT32_NOISE < difference(quick, exact) <= TOLERANCE


@pytest.mark.parametrize("count", [1, 3])
def test_batches_of_any_size_are_run(tiny_artifact: Path, count: int) -> None:
    batch = random_batch(count)
    alphas = tiny(tiny_artifact).load("float32")(batch)
    assert np.allclose(alphas, batch.mean(axis=-1) / 255, atol=FLOAT32_NOISE)


def test_alphas_are_the_callers_own_and_pictures_stay_as_they_are(tiny_artifact: Path) -> None:
    run = tiny(tiny_artifact).load("float32")
    batch = random_batch(2)
    batch.flags.writeable = False
    kept = batch.copy()
    first = run(batch)
    first_values = first.copy()
    run(255 - batch)
    assert np.array_equal(first, first_values)
    assert np.array_equal(batch, kept)
    first[:] = 7
    assert np.array_equal(run(batch), first_values)


def test_more_threads_than_lanes_take_turns_and_each_gets_its_own_alphas(tiny_artifact: Path) -> None:
    run = tiny(tiny_artifact, lanes=2).load("float32")
    batches = [random_batch(2) + np.uint8(shift) for shift in range(200)]
    with ThreadPoolExecutor(5) as pool:
        together = list(pool.map(run, batches))
    for batch, alphas in zip(batches, together, strict=True):
        assert np.allclose(alphas, batch.mean(axis=-1) / 255, atol=FLOAT32_NOISE)


class Held:
    """A request that runs until it is let go."""

    def __init__(self) -> None:
        self.begun, self.ending = threading.Semaphore(0), threading.Semaphore(0)

    def run(self, image: np.ndarray) -> np.ndarray:
        self.begun.release()
        assert self.ending.acquire(timeout=10)
        return image[..., 0].astype(np.float32)


def test_picture_that_is_alone_gets_the_broad_request_and_those_that_meet_do_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    narrow, broad = Held(), Held()
    run = openvino.RequestPool([narrow], broad)
    clock = [100.0]
    monkeypatch.setattr(openvino.time, "monotonic", lambda: clock[0])

    def begins(by: Held) -> None:
        running.append(pool.submit(run, random_batch(1)))
        assert by.begun.acquire(timeout=10)

    def end(by: Held) -> None:
        by.ending.release()
        running.pop(0).result(timeout=10)

    with ThreadPoolExecutor(2) as pool:
        running: list[Future[np.ndarray]] = []
        for _ in range(2):  # one after the other
            begins(broad)
            end(broad)
        begins(broad)
        begins(narrow)  # They meet, …
        end(broad)
        end(narrow)
        begins(narrow)  # … so the next one is expected to meet another, too, …
        end(narrow)
        clock[0] += openvino.NO_OVERLAP_S + 0.01
        begins(broad)  # … for some time.
        end(broad)


def test_failed_run_leaves_nobody_inside() -> None:
    class Failing:
        def run(self, image: np.ndarray) -> np.ndarray:
            raise RuntimeError("std::bad_alloc")

    run = openvino.RequestPool([Held()], Failing())
    for _ in range(3):  # As nobody is inside, each is alone.
        with pytest.raises(MemoryError):
            run(random_batch(1))


@pytest.mark.slow
def test_alphas_by_several_cores_are_those_by_one() -> None:
    size = contract.read_manifest(BUILT_IN_MODEL).input_size
    pool = OpenVinoModel(BUILT_IN, size, ExecutionConfig("cpu", threads=1, lanes=2)).load("float32")
    assert isinstance(pool, RequestPool)
    assert pool._broad is not None
    picture = probe_picture(size)
    by_one, by_two = pool._free.get().run(picture), pool._broad.run(picture)
    assert np.abs(by_one - by_two).max() < FLOAT32_NOISE


def test_pictures_larger_than_the_models_own_are_run_by_several_cores_one_at_a_time() -> None:
    narrow, broad = Held(), Held()
    run = RequestPool([narrow, narrow], broad, TINY_SIZE)
    large = np.zeros((1, 2 * TINY_SIZE, 2 * TINY_SIZE, 3), np.uint8)
    with ThreadPoolExecutor(3) as pool:
        running = [pool.submit(run, large) for _ in range(2)]
        assert broad.begun.acquire(timeout=10)
        running.append(pool.submit(run, random_batch(1)))
        assert narrow.begun.acquire(timeout=10)
        assert not broad.begun.acquire(timeout=0.1), "the second one waits"
        for each in (narrow, broad, broad):
            each.ending.release()
        for waiting in running:
            waiting.result(timeout=10)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_one_network_runs_pictures_of_several_sizes(precision: str) -> None:
    size, activations = (
        contract.read_manifest(BUILT_IN_MODEL).input_size,
        contract.read_activations(BUILT_IN_MODEL),
    )
    sizes = [size - 96, size, size + 32]
    place = ExecutionConfig("cpu", threads=1, lanes=2)
    run = OpenVinoModel(BUILT_IN, size, place, others=sizes, activations=activations).load(precision)
    for each in sizes:
        picture = probe_picture(each)
        exact = load_any_size_network(BUILT_IN_MODEL, contract.read_manifest(BUILT_IN_MODEL), each)(picture)
        off = np.abs(run(picture) - exact)
        assert off.mean() < (FLOAT32_NOISE if precision == "float32" else TOLERANCE / 4)


def test_loading_is_done_by_one_thread_at_a_time() -> None:
    both = threading.Barrier(2)

    def meet_another() -> bool:
        try:
            both.wait(0.2)
        except threading.BrokenBarrierError:
            return False
        return True

    with ThreadPoolExecutor(2) as pool:
        met = [pool.submit(openvino._in_loader_thread, meet_another) for _ in range(2)]
        assert [each.result() for each in met] == [False, False]


@pytest.mark.parametrize("lanes", [1, 2])
def test_loading_runs_no_picture(tiny_artifact: Path, monkeypatch: pytest.MonkeyPatch, lanes: int) -> None:
    """It costs a start half a second for each lane, and the memory of its maps before the lane is used."""
    tiny(tiny_artifact).load("float32")  # which runs the network that prepares OpenVINO
    ran: list[object] = []
    monkeypatch.setattr(openvino._InferRequest, "run", lambda *given: ran.append(given))
    tiny(tiny_artifact, lanes).load("float32")
    assert not ran


HAMMERS = """
import sys, threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import numpy as np
from app.inference.backends.openvino import OpenVinoModel
from app.inference.backends.base import ExecutionConfig

path, size = Path(sys.argv[1]), int(sys.argv[2])
begin = threading.Barrier(6)

def load_and_run(number):
    begin.wait()
    run = OpenVinoModel(path, size, ExecutionConfig("cpu", 1, lanes=2)).load("float32")
    with ThreadPoolExecutor(3) as lanes:
        together = threading.Barrier(3)
        def hammer(lane):
            together.wait()
            for _ in range(50):
                run(np.zeros((1, size, size, 3), np.uint8))
            return 50
        return sum(lanes.map(hammer, range(3)))

with ThreadPoolExecutor(6) as pool:
    print(sum(pool.map(load_and_run, range(6))))
"""


def test_threads_whose_first_use_is_at_the_same_moment_do_not_wait_for_each_other_for_ever(
    tiny_artifact: Path,
) -> None:
    arguments = [str(tiny_artifact / contract.SAVED_MODEL_DIR), str(TINY_SIZE)]
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, "-c", HAMMERS, *arguments],
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        )
        assert done.stdout.strip() == "900"


def test_nothing_that_reports_to_others_and_no_tensorflow_is_imported(tiny_artifact: Path) -> None:
    program = """
import sys
from pathlib import Path
from app.inference.backends.openvino import OpenVinoModel
from app.inference.backends.base import ExecutionConfig
OpenVinoModel(Path(sys.argv[1]), int(sys.argv[2]), ExecutionConfig("cpu", 1)).load("float32")
modules = {name.partition(".")[0] for name in sys.modules}
print(sorted(modules & {"openvino_telemetry", "tensorflow", "openvino"}))
import openvino.tools  # which can still be had
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tiny_artifact / contract.SAVED_MODEL_DIR), str(TINY_SIZE)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "['openvino']"
    assert done.stderr == ""


def test_openvinos_threads_give_way_to_the_one_that_answers(tiny_artifact: Path) -> None:
    program = """
import os, sys
from pathlib import Path
from app.inference.backends.openvino import OpenVinoModel
from app.inference.backends.base import ExecutionConfig

def nicenesses():
    threads = (int(each.name) for each in Path("/proc/self/task").iterdir())
    return {thread: os.getpriority(os.PRIO_PROCESS, thread) for thread in threads}

before = nicenesses()
run = OpenVinoModel(Path(sys.argv[1]), int(sys.argv[2]), ExecutionConfig("cpu", 1, lanes=2)).load("float32")
print(sorted(nice for thread, nice in nicenesses().items() if thread not in before))
"""
    arguments = [str(tiny_artifact / contract.SAVED_MODEL_DIR), str(TINY_SIZE)]
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True
    )
    nicenesses = json.loads(done.stdout)
    assert len(nicenesses) >= 2
    assert set(nicenesses) == {max(NICENESS, os.getpriority(os.PRIO_PROCESS, 0))}


def test_what_is_no_saved_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").write_bytes(b"nonsense")
    with pytest.raises(LoadError, match="not a SavedModel that OpenVINO runs"):
        OpenVinoModel(tmp_path, TINY_SIZE, ExecutionConfig("cpu", 1)).load("float32")


def test_python_without_openvino_is_told_apart(tiny_artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(NotInstalledError, match="OpenVINO cannot be imported"):
        tiny(tiny_artifact)


@pytest.mark.slow
def test_memory_that_is_too_short_is_said_as_python_says_it() -> None:
    program = """
import resource, sys
from pathlib import Path
from app.inference.backends.openvino import OpenVinoModel
from app.inference.backends.base import ExecutionConfig
model = OpenVinoModel(Path(sys.argv[1]), int(sys.argv[2]), ExecutionConfig("cpu", 1))
model.reference()  # The libraries are in memory now.
size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + 10_000_000,) * 2)
try:
    model.load("float32")
except MemoryError:
    print("MemoryError")
"""
    size = contract.read_manifest(BUILT_IN_MODEL).input_size
    done = subprocess.run(
        [sys.executable, "-c", program, str(BUILT_IN), str(size)], capture_output=True, text=True
    )
    assert done.stdout.strip() == "MemoryError", done.stderr


class Broken:
    """Two requests, of which the first that is asked fails once."""

    def __init__(self, message: str) -> None:
        self.messages = [message]

    def run(self, image: Batch) -> np.ndarray:
        if self.messages:
            raise RuntimeError(self.messages.pop())
        return np.zeros(image.shape[:3], np.float32)


@pytest.mark.parametrize(
    ("message", "kind"),
    [("std::bad_alloc", MemoryError), ("Node x: can't alloc", MemoryError), ("other", RuntimeError)],
)
def test_run_that_fails_leaves_its_lane_to_the_next(message: str, kind: type[Exception]) -> None:
    run = openvino.RequestPool([Broken(message)])
    with pytest.raises(kind):
        run(random_batch(1))
    assert run(random_batch(1)).shape == (1, TINY_SIZE, TINY_SIZE)
