"""Writes opencv.npz: matrices and pictures of OpenCV, for tests without it.

python tests/golden/make_opencv.py        (opencv-python-headless 5.0.0)
"""

import pathlib

import numpy as np

PATH = pathlib.Path(__file__).with_name("opencv.npz")

# Pictures of `IMAGE` turned about a point (x, y) by degrees, with a scale, on a canvas (height, width).
IMAGE = np.random.default_rng(0).random((20, 31, 3)).astype("float32")
TURNS = [((12.0, 8.5), 30.0, 0.75, (20, 31)), ((4.0, 15.0), -100.0, 1.5, (17, 26))]


def vectors():
    """{name: array}, computed by OpenCV now."""
    import cv2

    result = {}
    for number, (center, angle, scale, (height, width)) in enumerate(TURNS):
        matrix = cv2.getRotationMatrix2D(center, angle, scale)
        result[f"matrix-{number}"] = matrix
        result[f"picture-{number}"] = cv2.warpAffine(IMAGE, matrix, (width, height))
        result[f"inverse-map-{number}"] = cv2.warpAffine(
            IMAGE, matrix, (width, height), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        )
    return result


if __name__ == "__main__":
    np.savez_compressed(PATH, **vectors())
    print(f"wrote {PATH} ({PATH.stat().st_size} bytes)")
