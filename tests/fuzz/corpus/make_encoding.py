#!/usr/bin/env python3
"""Write the corpus encoding/ beside this script: three bytes of shape (see fuzz_encoding.c), then blocks or weights."""

import pathlib
import random
import struct

FOLDER = pathlib.Path(__file__).resolve().parent / "encoding"


def floats(*values):
    return struct.pack("<%df" % len(values), *values)


def cases():
    numbers = random.Random(1)
    weights = [numbers.gauss(0, 0.05) for _ in range(61)]
    yield "nothing", b""
    yield "zeros", bytes(40)
    yield "ones", b"\xff" * 41
    yield "scales_of_one", b"\x00\x3c\x00\x3c" * 20
    yield "largest_scales", b"\xff\x7b\xff\xfb" * 20
    yield "infinite_scales", b"\x00\x7c" * 20
    yield "random", numbers.randbytes(97)
    yield "random_longer", numbers.randbytes(600)
    yield "weights", floats(*weights)
    yield "an_outlier", floats(*weights[:13], 1e4)
    yield "extremes", floats(3.4e38, -3.4e38, 1e-45, 0.0, -0.0, 1e-38, 65504.0, 1.0)
    yield "not_finite", floats(float("nan"), float("inf"), 0.5, -0.25)


FOLDER.mkdir(exist_ok=True)
for i, (name, data) in enumerate(cases()):
    (FOLDER / name).write_bytes(bytes([5 * i % 16, 29 * i % 256, i % 4]) + data)
