"""Decoding with OpenJPEG or GDCM, in this process or as a process of its own.

Both hold the interpreter's lock and print to the terminal, and GDCM ends the process that it
runs in when some damaged streams are given to it. So `tomochrome.io.dicom.crew` runs this file as
a program: it takes streams on its standard input and gives pixels on its standard output until
the input ends. It imports nothing but the standard library and the decoder, to be there at once.

JPEG 2000 goes to OpenJPEG by way of pylibjpeg, which carries a newer one than GDCM does: a frame
takes it a tenth less time, and it keeps to one thread, as suits several processes side by side.
"""

from __future__ import annotations

import os
import struct
import sys
from contextlib import suppress
from io import BytesIO
from typing import BinaryIO, Final, NamedTuple

READY = b"R"
DONE, FAILED = b"D", b"F"
HEAD = struct.Struct("<Q5I64s")
REPLY = struct.Struct("<cQ")
FRAME_SECONDS = 30  #: the slowest frame of 4096x4096 takes a few; beyond this a decoder hangs
MOST_BYTES = 4 << 30  #: address space that a decoder may take
JPEG_2000: Final = b"1.2.840.10008.1.2.4.9"  #: how its transfer syntaxes begin
HTJ2K: Final = b"1.2.840.10008.1.2.4.20"
_JP2: Final = b"\x00\x00\x00\x0cjP"  #: how the boxes begin that may be around a stream


class Job(NamedTuple):
    """What a decoder must know of a stream of one grey frame."""

    length: int  #: bytes of the stream
    rows: int
    columns: int
    allocated: int  #: bits of each decoded value: 8 or 16
    stored: int
    signed: int
    syntax: bytes  #: transfer syntax


def decode(job: Job, code: bytes) -> bytes | bytearray:
    """Decode a stream.

    Returns
    -------
    bytes or bytearray
        Stored values, row by row, little endian.

    Raises
    ------
    Exception
        Anything, if the stream is damaged.
    """
    if not job.syntax.startswith((JPEG_2000, HTJ2K)):
        return _gdcm(job, code)
    try:
        return _openjpeg(code)
    except Exception:
        if job.syntax.startswith(HTJ2K):  # GDCM does not know it
            raise
        return _gdcm(job, code)


def _openjpeg(code: bytes) -> bytes | bytearray:
    import _openjpeg  # type: ignore[import-not-found]

    # pylibjpeg's own function reads the header once more for what the caller knows.
    failure, values = _openjpeg.decode(BytesIO(code), 2 if code.startswith(_JP2) else 0)
    if failure:
        raise ValueError(f"OpenJPEG failed ({failure})")
    pixels: bytearray = values
    return pixels


def _gdcm(job: Job, code: bytes) -> bytes:
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


def serve(source: BinaryIO, target: BinaryIO, syntax: bytes) -> None:
    """Decode what comes on ``source`` until it ends, most of it of one transfer syntax."""
    if syntax.startswith((JPEG_2000, HTJ2K)):  # so that the first stream need not wait for it
        import _openjpeg  # noqa: F401
    else:
        import gdcm  # noqa: F401

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
        serve(sys.stdin.buffer, target, os.fsencode(sys.argv[1]))
    os._exit(0)


if __name__ == "__main__":
    main()
