from pathlib import Path

import pytest

from tests.dealing import LONG, group, is_long

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("start", LONG)
def test_what_is_named_is_there(start: str) -> None:
    assert (ROOT / start).exists()


def test_tests_of_a_file_stay_together_and_so_do_files_of_a_group() -> None:
    job, cluster = "tests/app/bulk/test_job.py::test_a", "tests/app/test_cluster.py::test_b[x::y]"
    assert group(job) == group(cluster)
    assert group("tests/test_a.py::test_b[x::y]") == group("tests/test_a.py::test_c") == "tests/test_a.py"
    assert is_long(job)
    assert not is_long("tests/test_a.py::test_b")
