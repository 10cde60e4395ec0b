from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.support.xdist_groups import LONG, GroupScheduling, group, is_long, shuffled

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("start", LONG)
def test_what_is_named_is_there(start: str) -> None:
    assert (ROOT / start).exists()


def test_tests_of_a_file_stay_together_and_so_do_files_of_a_group() -> None:
    job, cluster = (
        "tests/app/distributed/test_job.py::test_a",
        "tests/app/distributed/test_deployment.py::test_b[x::y]",
    )
    assert group(job) == group(cluster)
    assert group("tests/test_a.py::test_b[x::y]") == group("tests/test_a.py::test_c") == "tests/test_a.py"
    assert is_long(job)
    assert not is_long("tests/test_a.py::test_b")


def test_a_seed_shuffles_files_and_the_tests_of_each_which_stay_together() -> None:
    nodeids = [f"tests/test_{file}.py::test_{i}" for file in "abcdef" for i in range(5)]
    places = shuffled(nodeids, 1)
    assert sorted(places) == list(range(30))
    assert places == shuffled(nodeids, 1)
    assert len({tuple(shuffled(nodeids, seed)) for seed in range(9)}) == 9
    files = [nodeids[place].split("::")[0] for place in places]
    assert files[::5] == list(dict.fromkeys(files))
    assert files != sorted(files)
    assert any(places[i] > places[i + 1] for i in range(0, 30, 5))


def test_shuffled_files_of_a_group_stay_together() -> None:
    cluster = [
        "tests/app/distributed/test_job.py::test_a",
        "tests/app/distributed/test_deployment.py::test_b",
    ]
    nodeids = [cluster[0], *(f"tests/test_{i}.py::test_c" for i in range(20)), cluster[1]]
    for seed in range(5):
        places = shuffled(nodeids, seed)
        assert abs(places.index(0) - places.index(21)) == 1


class Process:
    """One of pytest-xdist's, with the indices of the tests that it was given."""

    gateway = SimpleNamespace(id="gw")

    def __init__(self) -> None:
        self.given: list[int] = []
        self.shutting_down = False

    def send_runtest_some(self, indices: list[int]) -> None:
        self.given += indices

    def shutdown(self) -> None:
        self.shutting_down = True


def test_make_tests_option_deals_out_groups_whole_whatever_their_tests_are_named(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, option = request.config, request.config.option
    for name, value in {"dist": "loadgroup", "tx": ["2*popen"], "loadscopereorder": False}.items():
        monkeypatch.setattr(option, name, value)
    scheduler = config.hook.pytest_xdist_make_scheduler(config=config, log=None)
    assert isinstance(scheduler, GroupScheduling)
    nodeids = [
        *(
            f"tests/app/web/test_{file}.py::test_{i}[a::b@c]"
            for file in ("queue", "editor")
            for i in range(3)
        ),
        *(f"tests/test_a.py::test_{i}" for i in range(4)),
        *(f"tests/test_b.py::test_{i}" for i in range(5)),
    ]
    processes = [Process(), Process()]
    for process in processes:
        scheduler.add_node(process)
        scheduler.add_node_collection(process, nodeids)
    scheduler.schedule()
    assert [process.given for process in processes] == [[*range(6)], [*range(6, 10)]]
    for index in range(6, 10):
        scheduler.mark_test_complete(processes[1], index)
    assert processes[1].given == [*range(6, 15)]


def test_other_schedulers_are_left_as_they_are(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request.config.option, "dist", "load")
    scheduler = request.config.hook.pytest_xdist_make_scheduler(config=request.config, log=None)
    assert not isinstance(scheduler, GroupScheduling)
