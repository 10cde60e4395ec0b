"""Posts to the service in this container, for verify.sh, which runs it in there: only what the image has.

`drawn` posts a head and shoulders before a wall, `given` the photo on standard input; then bytes that are no picture.
One line goes out for each that was answered as it should be; the first that was not ends with a traceback.
"""

import http.client
import json
import os
import sys
from email.message import Message

import cv2
import numpy as np

WALL, SKIN, HAIR, JUMPER = (200, 208, 196), (142, 176, 224), (38, 44, 58), (112, 62, 40)  # BGR


def portrait() -> bytes:
    """A JPEG of 700 x 900 pixels."""
    image = np.full((900, 700, 3), WALL, np.uint8)
    for centre, axes, colour in (
        ((350, 960), (300, 330), JUMPER),
        ((350, 650), (70, 120), (130, 160, 208)),  # neck
        ((350, 370), (172, 222), HAIR),
        ((350, 420), (140, 190), SKIN),
        ((295, 390), (24, 13), (245, 245, 245)),  # eyes
        ((405, 390), (24, 13), (245, 245, 245)),
        ((295, 390), (11, 11), (60, 50, 40)),
        ((405, 390), (11, 11), (60, 50, 40)),
        ((350, 450), (16, 36), (126, 158, 208)),  # nose
        ((350, 530), (46, 15), (90, 90, 180)),  # mouth
    ):
        cv2.ellipse(image, centre, axes, 0, 0, 360, colour, -1, cv2.LINE_AA)
    noise = np.random.default_rng(0).normal(0, 4, image.shape)
    noisy = np.clip(cv2.GaussianBlur(image, (0, 0), 1.2) + noise, 0, 255).astype(np.uint8)
    return cv2.imencode(".jpg", noisy)[1].tobytes()


def post(body: bytes) -> tuple[int, Message, bytes]:
    """Status, headers and body of the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", int(os.environ["MATTE_PORT"]), timeout=60)
    connection.request("POST", "/v1/matte", body, {"Content-Type": "image/jpeg"})
    answer = connection.getresponse()
    return answer.status, answer.headers, answer.read()


def check_matte(photo: bytes) -> None:
    """A matte is as large as its photo, and somebody is in the middle of it and nobody in the upper left corner."""
    status, headers, body = post(photo)
    assert status == 200, (status, body[:300])
    image = cv2.imdecode(np.frombuffer(photo, np.uint8), cv2.IMREAD_COLOR)
    matte = cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_UNCHANGED)
    assert matte.shape == image.shape[:2], (matte.shape, image.shape)
    assert matte.dtype == np.uint8, matte.dtype
    height, width = matte.shape
    share = matte.mean() / 255
    middle = matte[height // 2 :, width // 3 : 2 * width // 3].mean() / 255
    corner = matte[: height // 12, : width // 12].mean() / 255
    print(
        f"photo {width} x {height}: 200 by {headers['X-Model']}, matte as large, {share:.0%} person, "
        f"{middle:.0%} in the middle, {corner:.0%} in the corner"
    )
    assert 0.05 < share < 0.95, "not a person's share"
    assert middle > 0.8, "nobody in the middle"
    assert corner < 0.2, "somebody in the corner"


def check_refused(name: str, body: bytes, expected: tuple[int, ...]) -> None:
    """What is no picture is refused by one of the expected statuses, in the service's words."""
    status, _, answer = post(body)
    assert status in expected, (name, status, answer[:300])
    print(f"{name}: {status} {json.loads(answer)['errors'][0]['code']}")


photo = sys.stdin.buffer.read() if sys.argv[1] == "given" else portrait()
check_matte(photo)
check_refused("garbage", bytes(range(256)) * 8, (400, 415))
check_refused("half a photo", photo[: len(photo) // 2], (400,))
check_refused("nothing", b"", (400, 415))
