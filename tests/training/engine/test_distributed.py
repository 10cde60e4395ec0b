"""Two processes on this machine train as two hosts: the same losses, the same weights, stopped together."""

import json
import socket
import subprocess
import sys

import pytest

from tests.training.p3m_folders import write_data_set
from training.engine.distributed import choose_strategy, describe_devices
from training.engine.run_dir import RunError

DOCUMENT = """
batch_size = 4
learning_rate = 1e-2
warmup_steps = 2
validate_every = 100
checkpoint_every = 100
ema_decay = 0.5
seed = 5
phases = [{ input_size = 32, steps = 12 }]
"""
TIMEOUT_S = 300


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hosts")
    write_data_set(folder / "p3m")
    (folder / "run.toml").write_text(DOCUMENT)
    return folder


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [str(each.getsockname()[1]) for each in sockets]
    for each in sockets:
        each.close()
    return ",".join(ports)


def run(*arguments):
    """What each of two hosts tells; `arguments[i]` are host i's folder, and perhaps the step to stop at."""
    ports = free_ports(2)
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.training.host_program", folder, str(i), ports, *more],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for i, (folder, *more) in enumerate(arguments)
    ]
    told = []
    try:
        for process in processes:
            out, err = process.communicate(timeout=TIMEOUT_S)
            assert process.returncode == 0, err
            told.append(json.loads(out.splitlines()[-1]))
    finally:
        for process in processes:
            process.kill()
    return told


@pytest.mark.slow
def test_two_hosts_stop_together_and_go_on_as_one_run(folder):
    first = run([folder], [folder, "4"])
    assert [each["finished"] for each in first] == [False, False]
    assert first[0]["losses"] == first[1]["losses"]
    assert first[0]["weights"] == first[1]["weights"]
    stopped_at = len(first[0]["losses"])
    assert 4 < stopped_at < 12

    # Host 1 has no checkpoint of its own: it takes everything from host 0.
    assert not (folder / "run-2-1" / "checkpoints").exists()
    second = run([folder], [folder])
    assert [each["finished"] for each in second] == [True, True]
    assert list(second[0]["losses"]) == [str(step) for step in range(stopped_at + 1, 13)]
    assert second[0]["losses"] == second[1]["losses"]
    assert second[0]["weights"] == second[1]["weights"]
    assert second[0]["weights"] != first[0]["weights"]


@pytest.mark.slow
def test_hosts_with_other_documents_are_refused(folder, tmp_path):
    """Each host has its own copy of the folder; one of the copies differs."""
    for i, seed in enumerate((5, 6)):
        copy = tmp_path / str(i)
        copy.mkdir()
        (copy / "p3m").symlink_to(folder / "p3m")
        (copy / "run.toml").write_text(DOCUMENT.replace("seed = 5", f"seed = {seed}"))
    for told in run([tmp_path / "0"], [tmp_path / "1"]):
        assert "the hosts do not have the same document" in told["error"]


@pytest.mark.parametrize(
    "described",
    [
        "{",
        '{"cluster": {"worker": ["a:1"]}}',
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}',
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "ps", "index": 0}}',
        '{"cluster": {"worker": ["a:1"], "ps": ["b:1"]}, "task": {"type": "worker", "index": 0}}',
    ],
)
def test_a_tf_config_that_describes_no_host_is_explained(described, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", described)
    with pytest.raises(RunError, match=r'TF_CONFIG must be like \{"cluster"'):
        choose_strategy()


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ([], "on the CPU (no GPU found)"),
        (["NVIDIA H200"], "on 1 GPU (NVIDIA H200)"),
        (["NVIDIA L4", "NVIDIA L4"], "on 2 GPUs (NVIDIA L4)"),
        (["NVIDIA L4", None], "on 2 GPUs (NVIDIA L4, of unknown make)"),
    ],
)
def test_a_hosts_devices_are_told_in_words(names, words, monkeypatch):
    monkeypatch.setattr("tensorflow.config.list_physical_devices", lambda _kind: list(range(len(names))))
    details = [{"device_name": name} if name else {} for name in names]
    monkeypatch.setattr("tensorflow.config.experimental.get_device_details", lambda gpu: details[gpu])
    assert describe_devices() == words
