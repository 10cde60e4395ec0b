from pathlib import Path

import pytest

from tests.support.xdist_groups import LONG, group, is_long, shuffled, without_group

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


@pytest.mark.parametrize(
    "nodeid",
    [
        "tests/test_a.py::test_b",
        "tests/test_a.py::test_b[x@y]",
        "tests/app/web/test_queue.py::test_b[@browser]",
    ],
)
def test_a_test_is_told_of_without_its_group(nodeid: str) -> None:
    assert without_group(nodeid) == nodeid
    assert without_group(f"{nodeid}@{group(nodeid)}") == nodeid


def test_every_test_is_marked_with_its_group(request: pytest.FixtureRequest) -> None:
    for item in request.session.items:
        marker = item.get_closest_marker("xdist_group")
        assert marker is not None
        assert marker.args == (group(without_group(item.nodeid)),)
