"""One frame of a camera, by OpenCV where it is installed."""

import numpy as np

from darkroom.base.errors import InputError, RunError
from darkroom.data.images import encode

# The first frames of many cameras are dark, until the exposure has settled.
FRAMES = 5


def read_frame(number: int) -> bytes:
    """Return one frame of a camera, the file of an image.

    Raises
    ------
    InputError
        If OpenCV is not installed, or there is no such camera.
    RunError
        If the camera gives no frame.
    """
    try:
        import cv2
    except ImportError:
        advice = "run 'pip install -c requirements-dev.txt opencv-python-headless', or name a photo"
        raise InputError(f"camera:{number}: needs OpenCV, which is not installed; {advice}") from None
    camera = cv2.VideoCapture(number)
    try:
        if not camera.isOpened():
            raise InputError(f"camera:{number}: there is no such camera, or another program uses it; 'ls /dev/video*' lists them")
        frames = [camera.read()[1] for _ in range(FRAMES)]
        if frames[-1] is None:
            raise RunError(f"camera:{number}: gives no frame; unplug it, plug it in, and run the same command again")
        return encode(np.asarray(cv2.cvtColor(frames[-1], cv2.COLOR_BGR2RGB)))
    finally:
        camera.release()
