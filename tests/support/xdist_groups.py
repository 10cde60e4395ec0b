"""How tests are dealt out to the processes of `make test`: each file whole, some files together, the longest first.

For pytest's own option `--dist loadgroup`, which keeps the tests of a group in one process.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Final

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
    "tests/app/inference/backends/test_int8.py",
)


def file_of(nodeid: str) -> str:
    return nodeid.split("::")[0]


def group(nodeid: str) -> str:
    """The file of a test, or its file's group."""
    return next((name for start, name in GROUPS.items() if nodeid.startswith(start)), file_of(nodeid))


def without_group(nodeid: str) -> str:
    """The test's own name: for `--dist loadgroup` pytest-xdist ends it with `@` and the group."""
    name, _, last = nodeid.rpartition("@")
    return name if name and last == group(name) else nodeid


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
