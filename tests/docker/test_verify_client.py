"""docker/verify_client.py accepts the service as it is, and nothing that only looks like it."""

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage.data

from app.settings import BUILT_IN_MODEL
from tests.docker.proxied import replica
from tests.support.servers import serving_quickly

CLIENT = Path(__file__).parents[2] / "docker" / "verify_client.py"


def _client(address, *arguments, photo=b""):
    told = {"PATH": os.environ["PATH"], "MATTE_PORT": address.rsplit(":", 1)[1]}
    return subprocess.run(
        [sys.executable, CLIENT, *arguments], env=told, input=photo, capture_output=True, check=False
    )


@pytest.mark.slow
def test_service_is_accepted():
    portrait = cv2.cvtColor(skimage.data.astronaut(), cv2.COLOR_RGB2BGR)
    with serving_quickly(BUILT_IN_MODEL, MATTE_MAX_BATCH_SIZE="1") as (_, address):
        drawn = _client(address, "drawn")
        # The upper left corner of this portrait is a flag, which is nobody.
        given = _client(address, "given", photo=cv2.imencode(".jpg", portrait)[1].tobytes())
    for done in (drawn, given):
        assert done.returncode == 0, done.stderr
        lines = done.stdout.decode().splitlines()
        assert [line.split(":")[0] for line in lines[1:]] == ["garbage", "half a photo", "nothing"]
    assert b"photo 700 x 900: 200 by portrait@" in drawn.stdout
    assert b"photo 512 x 512: 200 by portrait@" in given.stdout


@pytest.mark.parametrize(
    ("shape", "value", "why"),
    [
        ((900, 700), 0, b"not a person's share"),
        ((900, 700), 255, b"not a person's share"),
        ((90, 70), 128, b"AssertionError"),
        ((900, 700), 128, b"nobody in the middle"),
    ],
)
def test_a_matte_of_nobody_is_not(shape, value, why):
    matte = cv2.imencode(".png", np.full(shape, value, np.uint8))[1].tobytes()
    with replica(lambda request: request.answer(200, matte)) as fake:
        done = _client(fake.address, "drawn")
    assert done.returncode == 1
    assert why in done.stderr
