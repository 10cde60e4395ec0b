"""The command line on the shallow network, killed as it tells of a step: `… killed_program STEP …`.

What follows are the command line's own arguments.
"""

import os
import signal
import sys

from model.u2net import VARIANTS
from tests.training.shallow_network import SHALLOW
from training.__main__ import main
from training.engine.progress import Progress


def killed(_progress, step, _loss, _size):
    if step == STEP:
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    STEP = int(sys.argv.pop(1))
    Progress.on_step_end = killed
    VARIANTS["lite"] = SHALLOW
    main()
