"""How tests are dealt out to the processes of `make test`: each file whole, some files together, the longest first.

`--dist loadgroup` gets a scheduler of its own. pytest-xdist's tells groups by what it adds to the tests' names; from
pytest 9.2 on nothing can be added, and it deals out each test alone (pytest-xdist's issue 1386).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Final

from xdist.scheduler import LoadScopeScheduling

# What the files of a group start is shared by them, or too large to be there twice.
GROUPS: Final = {
    "tests/app/web/": "browser",
    "tests/app/distributed/test_job.py": "ray",
    "tests/app/distributed/test_deployment.py": "ray",
}
# A long one that comes last would leave the other process without work.
LONG: Final = (
    "tests/training/test_run.py",
    *GROUPS,
    "tests/app/api/test_openapi_contract.py",
    "tests/app/server/test_supervisor.py",
    "tests/app/server/test_supervisor_inference.py",
    "tests/training/engine/test_distributed.py",
    "tests/training/export/test_import_weights.py",
    "tests/training/data/test_input_pipeline.py",
    "tests/training/engine/test_train_step.py",
    "tests/training/test_upright.py",
    "tests/app/inference/backends/test_int8.py",
)


def file_of(nodeid: str) -> str:
    return nodeid.split("::")[0]


def group(nodeid: str) -> str:
    """The file of a test, or its file's group."""
    return next((name for start, name in GROUPS.items() if nodeid.startswith(start)), file_of(nodeid))


def is_long(nodeid: str) -> bool:
    return nodeid.startswith(LONG)


def shuffled(nodeids: Sequence[str], seed: int) -> list[int]:
    """The indices of the tests in an order by chance, the same for the same `seed`: groups are shuffled, the files of
    each, and the tests of each file. They stay together, because they share what they start."""
    chance = random.Random(seed)
    groups, files, tests = (
        {name: chance.random() for name in dict.fromkeys(names)}
        for names in (map(group, nodeids), map(file_of, nodeids), nodeids)
    )

    def rank(index: int) -> tuple[float, float, float]:
        nodeid = nodeids[index]
        return groups[group(nodeid)], files[file_of(nodeid)], tests[nodeid]

    return sorted(range(len(nodeids)), key=rank)


class GroupScheduling(LoadScopeScheduling):  # type: ignore[misc]
    """Gives a process one group after another, in the order in which the tests are collected."""

    def _split_scope(self, nodeid: str) -> str:
        return group(nodeid)
