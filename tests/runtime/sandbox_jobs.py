"""Functions that misbehave in a sandbox's child; the child imports this module."""

from __future__ import annotations

import os
import pickle
import sys
import time
from pathlib import Path

import numpy as np

from tomochrome.errors import ChoiceError, GeometryError


def echo(*values):
    return values


def pid():
    return os.getpid()


def block(shape, dtype):
    return np.arange(int(np.prod(shape))).astype(dtype).reshape(shape), {"shape": shape}


def bare(data):
    return {"bytes": pickle.PickleBuffer(bytearray(data)), "empty": np.zeros((0, 3))}


def told(path):
    """Say that work has begun, then never end."""
    Path(path).write_text(str(os.getpid()))
    while True:
        time.sleep(1)


def spin():
    while True:
        pass


def sleep():
    time.sleep(1000)


def allocate():
    kept = []
    while True:
        kept.append(np.ones(1 << 22))


def crash():
    os.abort()


def leave(status):
    os._exit(status)


def refuse():
    raise GeometryError("the axes of 'x' are bent")


def refuse_to_choose():
    raise ChoiceError("'x' holds 2 series", "a, b")


def fail():
    raise KeyError("patient's name")


def executed(path):
    return Evil(path)


class Evil:
    """Would run code where it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def noise():
    os.write(1, b"out")
    os.write(2, b"err")
    sys.stderr.write("err")


def length(data):
    return len(data)
