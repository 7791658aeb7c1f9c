"""The text of one file as what its bytes are: unpacked, decoded by its mark or as UTF-8, or refused with its line."""

import bz2
import codecs
import lzma
import zlib
from collections.abc import Callable
from typing import Protocol

import zstandard

from data.errors import DataError

MARKS = (  # UTF-32's begins with UTF-16's
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
READ_BYTES = 1024


class Unreadable(DataError):
    """What is wrong, and where in the file."""

    def __init__(self, reason: str, line: int = 0) -> None:
        super().__init__(reason)
        self.line = line


class Stream(Protocol):
    """What decompressors have in common."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, /) -> bytes: ...


PACKED: dict[str, Callable[[], Stream]] = {
    ".gz": lambda: zlib.decompressobj(wbits=16 + zlib.MAX_WBITS),
    ".bz2": bz2.BZ2Decompressor,
    ".xz": lzma.LZMADecompressor,
    ".zst": lambda: zstandard.ZstdDecompressor(max_window_size=1 << 31).decompressobj(),  # as `zstd --long=31` needs
}


def unpacked(raw: bytes, packed: str, most_bytes: float = float("inf")) -> bytes:
    """All that was packed into a file, stream after stream; raises Unreadable for one that is damaged or not whole.

    It is read in small parts, so that what grows beyond `most_bytes` is refused before memory is full of it.
    """
    parts: list[bytes] = []
    at, size, whole = 0, 0, False
    while at < len(raw) or not whole:
        stream, whole = PACKED[packed](), False
        while at < len(raw) and not stream.eof:
            try:
                parts.append(stream.decompress(raw[at : at + READ_BYTES]))
            except (ValueError, OSError, zlib.error, lzma.LZMAError, zstandard.ZstdError) as error:
                raise Unreadable(f"no {packed} file, or a damaged one; fetch it again") from error
            at, size = at + READ_BYTES, size + len(parts[-1])
            if size > most_bytes:
                raise Unreadable(f"more than {most_bytes:,.0f} bytes, unpacked")
        if not stream.eof:  # zstandard's own readers pass over this
            raise Unreadable(f"a {packed} file that ends early; fetch it again")
        at, whole = min(at, len(raw)) - len(stream.unused_data), True
        while raw[at : at + 1] == b"\0":  # tapes and disks pad
            at += 1
    return b"".join(parts)


def decoded(raw: bytes) -> tuple[str, str]:
    """The text of a file with line ends as LF, and how it was mended; raises Unreadable with the line of the fault."""
    mark, encoding = next(((mark, name) for mark, name in MARKS if raw.startswith(mark)), (b"", "utf-8"))
    body = raw[len(mark) :]
    if encoding == "utf-8" and (at := body.find(b"\0")) >= 0:
        reason = "a NUL byte: UTF-16 without its mark, or no text; `iconv -f utf-16 -t utf-8` turns the first into text"
        raise Unreadable(reason, body.count(b"\n", 0, at) + 1)
    try:
        text = body.decode(encoding)
    except UnicodeDecodeError as error:
        line = body[: error.start].decode(encoding, "replace").count("\n") + 1
        if encoding != "utf-8":
            raise Unreadable(f"no {encoding.upper()} though its mark says so ({error.reason})", line) from error
        told = f"byte 0x{body[error.start]:02x} is no UTF-8; `iconv -f latin1 -t utf-8` turns a Latin-1 file into it"
        raise Unreadable(told, line) from error
    mended = {"": "", "utf-8": "byte order mark taken off"}.get(encoding if mark else "", f"read as {encoding.upper()}")
    return text.replace("\r\n", "\n").replace("\r", "\n"), mended
