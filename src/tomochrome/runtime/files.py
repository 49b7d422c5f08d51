"""Writing files so that they are whole or not there at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tomochrome.errors import OutputError


def check_writable(path: str | os.PathLike[str], *, force: bool = False) -> Path:
    """Check, before any long work, that ``path`` can be written, and return it as a `Path`.

    The parent folder must exist and be writable; an existing output needs ``force``.

    Raises
    ------
    OutputError
        If it cannot be written or is there already.
    """
    target = Path(path)
    parent = target.parent
    if not parent.is_dir():
        if _exists(parent):
            raise OutputError(f"'{parent}' is not a folder; choose another place for the output")
        raise OutputError(f"the folder '{parent}' for the output does not exist; create it first")
    if _exists(target) and not force:
        raise OutputError(f"'{target}' exists already; use --force (force=True) to replace it")
    try:  # permission bits say nothing to root, nor on /proc or a full or read-only disk
        Path(tempfile.mkdtemp(prefix=".tomochrome-", dir=parent)).rmdir()
    except OSError as error:
        raise OutputError(
            f"the folder '{parent}' cannot be written to ({error.strerror}); choose another output"
        ) from error
    return target


def _exists(path: Path) -> bool:
    """Whether something lies at ``path``; also a link to nothing."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError) as error:  # a name with a NUL byte is a ValueError
        reason = getattr(error, "strerror", None) or error
        raise OutputError(f"'{path}' cannot be an output: {reason}") from error
    return True


@contextmanager
def write_whole(path: str | os.PathLike[str], *, force: bool = False) -> Iterator[Path]:
    """Give a temporary path beside ``path``; on success move it there, on any error remove it.

    The temporary name keeps the ending of ``path`` (also ``.nii.gz``), so that libraries that
    choose a format by the ending work. What is written at the temporary path may be a file
    or a folder.

    Raises
    ------
    OutputError
        If the output cannot be written or is there already (without ``force``).
    """
    target = check_writable(path, force=force)
    try:
        work = Path(tempfile.mkdtemp(prefix=".tomochrome-", dir=target.parent))
    except OSError as error:
        raise OutputError(f"cannot write beside '{target}': {error.strerror}") from error
    try:
        temporary = work / target.name
        yield temporary
        if target.is_dir() and not target.is_symlink():
            if not temporary.is_dir():  # who allows to replace a file does not mean a folder
                raise OutputError(f"'{target}' is a folder; choose another name for the output")
            replaced = work / "replaced"
            target.rename(replaced)
            try:
                temporary.rename(target)
            except OSError:
                with suppress(OSError):
                    replaced.rename(target)
                raise
        else:
            temporary.replace(target)
    except OSError as error:
        raise OutputError(f"cannot write '{target}': {error.strerror or error}") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
