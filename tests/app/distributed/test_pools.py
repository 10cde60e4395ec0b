from __future__ import annotations

import pytest

pytest.importorskip("ray.data", reason="Ray is an extra: pip install -e '.[ray]'")


from app.distributed.pools import CPUS_MAX, Crowd, Pools, TooSmall, size

HEAD = {"memory": 1.0}
SMALL = {"CPU": 4.0}
LARGE = {"CPU": 10.0}
GPUS = {"CPU": 16.0, "GPU": 2.0}


@pytest.mark.parametrize(
    ("nodes", "crowd", "pools"),
    [
        ([HEAD, SMALL, LARGE], Crowd(), Pools(workers=3, cpus=4, gpus=0, split=False)),
        ([{"CPU": 64.0}], Crowd(), Pools(workers=8, cpus=CPUS_MAX, gpus=0, split=False)),
        ([SMALL, LARGE], Crowd(cpus=2), Pools(workers=7, cpus=2, gpus=0, split=False)),
        ([SMALL, LARGE], Crowd(workers=1), Pools(workers=1, cpus=4, gpus=0, split=False)),
        ([SMALL], Crowd(split=True), Pools(workers=3, cpus=1, gpus=0, split=True)),
        ([GPUS], Crowd(), Pools(workers=14, cpus=1, gpus=2, split=True)),
        ([GPUS], Crowd(gpus=0), Pools(workers=2, cpus=8, gpus=0, split=False)),
        ([GPUS], Crowd(split=False), Pools(workers=2, cpus=8, gpus=2, split=False)),
    ],
)
def test_workers_fill_the_cluster(nodes, crowd, pools):
    assert size(crowd, nodes, device="auto") == pools


@pytest.mark.parametrize(
    ("nodes", "crowd"),
    [
        ([HEAD], Crowd()),
        ([SMALL], Crowd(cpus=5)),
        ([SMALL], Crowd(workers=2)),
        ([SMALL], Crowd(gpus=1)),
        ([{"CPU": 2.0}], Crowd(split=True)),
    ],
)
def test_what_is_not_there_is_said(nodes, crowd):
    with pytest.raises(TooSmall, match="the cluster has"):
        size(crowd, nodes, device="auto")


def test_gpus_are_left_alone_where_the_device_is_cpu():
    assert size(Crowd(), [GPUS], device="cpu") == Pools(workers=2, cpus=8, gpus=0, split=False)
