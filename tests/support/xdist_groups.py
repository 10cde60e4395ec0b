"""How files are dealt out to the processes of `make test`: each whole, and some together; the longest first."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Final

# What the files of a group start is shared by them, or too large to be there twice.
GROUPS: Final = {
    "tests/app/web/": "a browser",
    "tests/app/distributed/test_job.py": "a Ray cluster",
    "tests/app/distributed/test_deployment.py": "a Ray cluster",
}
# A long one that comes last would leave the other process without work.
LONG: Final = (
    "tests/training/test_run.py",
    *GROUPS,
    "tests/app/test_contract.py",
    "tests/app/server/test_supervisor.py",
    "tests/training/engine/test_distributed.py",
    "tests/training/export/test_import_weights.py",
)


def group(nodeid: str) -> str:
    """The file of a test, or its file's group."""
    return next((name for start, name in GROUPS.items() if nodeid.startswith(start)), nodeid.split("::")[0])


def is_long(nodeid: str) -> bool:
    return nodeid.startswith(LONG)


def shuffled(nodeids: Sequence[str], seed: int) -> list[int]:
    """The places of the tests in an order by chance, the same for the same `seed`: groups are shuffled, the files of
    each, and the tests of each file. They stay together, because they share what they start."""
    chance = random.Random(seed)
    groups, files, tests = (
        {name: chance.random() for name in dict.fromkeys(names)}
        for names in (map(group, nodeids), (each.split("::")[0] for each in nodeids), nodeids)
    )

    def rank(place: int) -> tuple[float, float, float]:
        nodeid = nodeids[place]
        return groups[group(nodeid)], files[nodeid.split("::")[0]], tests[nodeid]

    return sorted(range(len(nodeids)), key=rank)


def dealer() -> type:
    """A scheduler of pytest-xdist, which is there if this is asked for."""
    from xdist.scheduler import LoadScopeScheduling

    class ByGroup(LoadScopeScheduling):
        def __init__(self, config: object, log: object = None) -> None:
            super().__init__(config, log)
            self.config.option.loadscopereorder = False  # It would put the files with the most tests first.

        def _split_scope(self, nodeid: str) -> str:
            return group(nodeid)

    return ByGroup
