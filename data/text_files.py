"""The text of one file: decompressed, decoded by its byte order mark or as UTF-8, or refused with the line at fault."""

import bz2
import codecs
import lzma
import zlib
from collections.abc import Callable
from typing import Protocol

import zstandard

from common.errors import DataError

BYTE_ORDER_MARKS = (  # UTF-32's begins with UTF-16's
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
CHUNK_BYTES = 1024


class Unreadable(DataError):
    """A file that is not text.

    Args:
        reason: What is wrong with it.
        line: Where, counted from 1; 0 for the file as a whole.
    """

    def __init__(self, reason: str, line: int = 0) -> None:
        super().__init__(reason)
        self.line = line


class Decompressor(Protocol):
    """The interface that all decompressors share."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, /) -> bytes: ...


DECOMPRESSORS: dict[str, Callable[[], Decompressor]] = {
    ".gz": lambda: zlib.decompressobj(wbits=16 + zlib.MAX_WBITS),
    ".bz2": bz2.BZ2Decompressor,
    ".xz": lzma.LZMADecompressor,
    ".zst": lambda: zstandard.ZstdDecompressor(max_window_size=1 << 31).decompressobj(),  # as `zstd --long=31` needs
}


def decompress(raw: bytes, suffix: str, max_bytes: float = float("inf")) -> bytes:
    """Decompress a whole file, stream after stream.

    It is read in small chunks, so that a file that grows beyond `max_bytes` is refused before it fills memory.

    Args:
        raw: The compressed bytes.
        suffix: One of DECOMPRESSORS, such as ".gz".
        max_bytes: The largest size allowed after decompression.

    Raises:
        Unreadable: The file is damaged, incomplete or too large.
    """
    parts: list[bytes] = []
    at, size, whole = 0, 0, False
    while at < len(raw) or not whole:
        stream, whole = DECOMPRESSORS[suffix](), False
        while at < len(raw) and not stream.eof:
            try:
                parts.append(stream.decompress(raw[at : at + CHUNK_BYTES]))
            except (ValueError, OSError, zlib.error, lzma.LZMAError, zstandard.ZstdError) as error:
                raise Unreadable(f"not a {suffix} file, or a damaged one; download it again") from error
            at, size = at + CHUNK_BYTES, size + len(parts[-1])
            if size > max_bytes:
                raise Unreadable(f"more than {max_bytes:,.0f} bytes, unpacked")
        if not stream.eof:  # zstandard's own readers ignore this
            raise Unreadable(f"a {suffix} file that ends early; download it again")
        at, whole = min(at, len(raw)) - len(stream.unused_data), True
        while raw[at : at + 1] == b"\0":  # padding, as on tapes and disks
            at += 1
    return b"".join(parts)


def decode(raw: bytes) -> tuple[str, str]:
    """Return the text of a file with LF line ends, and how it was fixed; raise Unreadable with the line at fault."""
    mark, encoding = next(((mark, name) for mark, name in BYTE_ORDER_MARKS if raw.startswith(mark)), (b"", "utf-8"))
    body = raw[len(mark) :]
    if encoding == "utf-8" and (at := body.find(b"\0")) >= 0:
        reason = "a NUL byte: UTF-16 without a byte order mark, or not text; for UTF-16, try `iconv -f utf-16 -t utf-8`"
        raise Unreadable(reason, body.count(b"\n", 0, at) + 1)
    try:
        text = body.decode(encoding)
    except UnicodeDecodeError as error:
        line = body[: error.start].decode(encoding, "replace").count("\n") + 1
        if encoding != "utf-8":
            raise Unreadable(
                f"not valid {encoding.upper()} although its mark says so ({error.reason})", line
            ) from error
        reason = f"byte 0x{body[error.start]:02x} is not UTF-8; `iconv -f latin1 -t utf-8` converts a Latin-1 file"
        raise Unreadable(reason, line) from error
    fix = {"": "", "utf-8": "byte order mark removed"}.get(encoding if mark else "", f"read as {encoding.upper()}")
    return text.replace("\r\n", "\n").replace("\r", "\n"), fix
