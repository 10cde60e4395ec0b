"""One host of a run with a small network: `python -m tests.training.host_program FOLDER INDEX PORT,PORT [STOP_AT]`.

Prints as JSON the losses by step, whether the run was finished, and its weights at the end. With STOP_AT the host
sends itself a SIGTERM after that step.
"""

import json
import os
import signal
import sys
from pathlib import Path

from tests.training.small_network import small_network


class Recorder:
    """Stands for `training.engine.progress.Progress`."""

    def __init__(self, stop_at):
        self.losses, self.state, self._stop_at = {}, None, stop_at

    def on_train_begin(self, _config, _data, state, **_):
        self.state = state

    def on_step_end(self, step, loss, _size):
        self.losses[step] = loss
        if step == self._stop_at:
            os.kill(os.getpid(), signal.SIGTERM)

    def on_validation_end(self, *_, **__):
        pass

    def on_train_end(self, *_, **__):
        pass


def main(folder, index, ports, stop_at=None):
    workers = [f"127.0.0.1:{port}" for port in ports.split(",")]
    if len(workers) > 1:
        os.environ["TF_CONFIG"] = json.dumps(
            {"cluster": {"worker": workers}, "task": {"type": "worker", "index": int(index)}}
        )
    from training.config import load_config
    from training.data.dataset import Sources, TrainData, list_pairs
    from training.engine import state as states
    from training.engine import trainer
    from training.engine.run_dir import RunError, claim

    states.build_network = small_network
    recorder = Recorder(stop_at and int(stop_at))
    document = folder / "run.toml"
    config, run_dir = load_config(document), folder / f"run-{len(workers)}-{index}"
    pairs = list_pairs(folder / "p3m", "train").pairs
    claim(run_dir, document, config)
    try:
        finished = trainer.train(config, TrainData(pairs, pairs[:2], Sources.of(pairs)), run_dir, recorder)
    except RunError as error:
        print(json.dumps({"error": str(error)}))
        return
    weights = recorder.state.weights.numpy().tolist()
    print(json.dumps({"losses": recorder.losses, "finished": finished, "weights": weights}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
