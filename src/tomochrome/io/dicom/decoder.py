"""Decoding with GDCM, in this process or as a process of its own.

GDCM ends the process that it runs in when some damaged streams are given to it, prints to the
terminal, and holds the interpreter's lock. So `tomochrome.io.dicom.crew` runs this file as a
program: it takes streams on its standard input and gives pixels on its standard output until
the input ends. It imports nothing but the standard library and GDCM, to be there at once.
"""

from __future__ import annotations

import os
import struct
import sys
from contextlib import suppress
from typing import BinaryIO, NamedTuple

READY = b"R"
DONE, FAILED = b"D", b"F"
HEAD = struct.Struct("<Q5I64s")
REPLY = struct.Struct("<cQ")
FRAME_SECONDS = 30  #: the slowest frame of 4096x4096 takes a few; beyond this a decoder hangs
MOST_BYTES = 4 << 30  #: address space that a decoder may take


class Job(NamedTuple):
    """What a decoder must know of a stream of one grey frame."""

    length: int  #: bytes of the stream
    rows: int
    columns: int
    allocated: int  #: bits of each decoded value: 8 or 16
    stored: int
    signed: int
    syntax: bytes  #: transfer syntax


def decode(job: Job, code: bytes) -> bytes:
    """Decode a stream.

    Returns
    -------
    bytes
        Stored values, row by row, little endian.

    Raises
    ------
    Exception
        Anything, if the stream is damaged.
    """
    import gdcm

    for stream in ("DebugOff", "WarningOff", "ErrorOff"):
        getattr(gdcm.Trace, stream)()
    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(code)
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((job.columns, job.rows, 1))
    image.SetDataElement(element)
    kind = gdcm.PhotometricInterpretation.GetPIType("MONOCHROME2")
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(kind))
    syntax = gdcm.TransferSyntax.GetTSType(job.syntax.rstrip(b"\0").decode("ascii"))
    image.SetTransferSyntax(gdcm.TransferSyntax(syntax))
    image.SetPixelFormat(
        gdcm.PixelFormat(1, job.allocated, job.stored, job.stored - 1, int(job.signed))
    )
    # GDCM hands the bytes over as text.
    values: bytes = image.GetBuffer().encode("utf-8", "surrogateescape")
    return values


def serve(source: BinaryIO, target: BinaryIO) -> None:
    """Decode what comes on ``source`` until it ends."""
    import gdcm  # noqa: F401  (so that the first stream need not wait for it)

    target.write(READY)
    target.flush()
    while len(head := source.read(HEAD.size)) == HEAD.size:
        job = Job(*HEAD.unpack(head))
        code = source.read(job.length)
        _alarm(FRAME_SECONDS)
        try:
            status, answer = DONE, decode(job, code)
        except Exception as error:  # damaged streams raise anything
            status, answer = FAILED, str(error).encode("utf-8", "replace")[:1000]
        _alarm(0)
        target.write(REPLY.pack(status, len(answer)))
        target.write(answer)
        target.flush()


def _alarm(seconds: int) -> None:
    """End this process after some seconds (0: not any more), where the system can do that."""
    import signal

    if hasattr(signal, "alarm"):
        signal.alarm(seconds)


def main() -> None:
    """Serve on standard input and output; whatever a decoder prints goes nowhere."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started this ends it
    with suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, MOST_BYTES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "win32":
        import msvcrt

        msvcrt.setmode(0, os.O_BINARY)
        msvcrt.setmode(1, os.O_BINARY)
    target = os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for output in (1, 2):
        os.dup2(nowhere, output)
    with suppress(BrokenPipeError):
        serve(sys.stdin.buffer, target)
    os._exit(0)


if __name__ == "__main__":
    main()
