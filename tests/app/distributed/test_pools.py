from __future__ import annotations

import pytest

pytest.importorskip("ray.data", reason="Ray is an extra: pip install -e '.[ray]'")


from app.distributed.pools import CPUS_MAX, ClusterSpec, ClusterTooSmall, ResolvedClusterSpec, resolve

HEAD = {"memory": 1.0}
SMALL = {"CPU": 4.0}
LARGE = {"CPU": 10.0}
GPUS = {"CPU": 16.0, "GPU": 2.0}


@pytest.mark.parametrize(
    ("nodes", "cluster_spec", "pools"),
    [
        ([HEAD, SMALL, LARGE], ClusterSpec(), ResolvedClusterSpec(workers=3, cpus=4, gpus=0, split=False)),
        ([{"CPU": 64.0}], ClusterSpec(), ResolvedClusterSpec(workers=8, cpus=CPUS_MAX, gpus=0, split=False)),
        ([SMALL, LARGE], ClusterSpec(cpus=2), ResolvedClusterSpec(workers=7, cpus=2, gpus=0, split=False)),
        ([SMALL, LARGE], ClusterSpec(workers=1), ResolvedClusterSpec(workers=1, cpus=4, gpus=0, split=False)),
        ([SMALL], ClusterSpec(split=True), ResolvedClusterSpec(workers=3, cpus=1, gpus=0, split=True)),
        ([GPUS], ClusterSpec(), ResolvedClusterSpec(workers=14, cpus=1, gpus=2, split=True)),
        ([GPUS], ClusterSpec(gpus=0), ResolvedClusterSpec(workers=2, cpus=8, gpus=0, split=False)),
        ([GPUS], ClusterSpec(split=False), ResolvedClusterSpec(workers=2, cpus=8, gpus=2, split=False)),
    ],
)
def test_workers_fill_the_cluster(nodes, cluster_spec, pools):
    assert resolve(cluster_spec, nodes, device="auto") == pools


@pytest.mark.parametrize(
    ("nodes", "cluster_spec"),
    [
        ([HEAD], ClusterSpec()),
        ([SMALL], ClusterSpec(cpus=5)),
        ([SMALL], ClusterSpec(workers=2)),
        ([SMALL], ClusterSpec(gpus=1)),
        ([{"CPU": 2.0}], ClusterSpec(split=True)),
    ],
)
def test_what_is_not_there_is_said(nodes, cluster_spec):
    with pytest.raises(ClusterTooSmall, match="the cluster has"):
        resolve(cluster_spec, nodes, device="auto")


def test_gpus_are_left_alone_where_the_device_is_cpu():
    assert resolve(ClusterSpec(), [GPUS], device="cpu") == ResolvedClusterSpec(
        workers=2, cpus=8, gpus=0, split=False
    )
