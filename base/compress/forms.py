"""Reversible rearrangements of a stream's bytes that bring alike bytes together, for codecs that look for repeats."""

import numpy as np

from base.compress.errors import FormatError

FORMS = ("plain", "shuffle", "transpose", "rows")
MAX_ROWS = 16_384  # of a matrix that is sorted: it takes rows^2 distances, and rows are numbered in 16 bits
Shape = tuple[int, int, int]  # count, rows, columns


def arrange(form: str, data: bytes, item_bytes: int, shape: Shape) -> bytes:
    """Rearrange items of so many bytes, or integers of `shape`.

    shuffle: all first bytes of the items, then all second bytes (#1179)
    transpose: each matrix column by column
    rows: rows in the order of a chain of nearest neighbors, then transposed; the order comes first (#1797)
    """
    if form == "shuffle":
        return np.frombuffer(data, np.uint8).reshape(-1, item_bytes).T.tobytes()
    if form == "plain":
        return data
    matrices = np.frombuffer(data, np.int8).reshape(shape)
    if form == "transpose":
        return matrices.transpose(0, 2, 1).tobytes()
    orders = [similarity_order(matrix) for matrix in matrices]
    arranged = (matrix[order].T.tobytes() for matrix, order in zip(matrices, orders, strict=True))
    return b"".join([*(order.astype("<u2").tobytes() for order in orders), *arranged])


def added_bytes(form: str, shape: Shape) -> int:
    """Bytes that `arrange` adds."""
    return 2 * shape[0] * shape[1] if form == "rows" else 0


def restore(form: str, data: bytes, item_bytes: int, shape: Shape) -> bytes:
    """The inverse of `arrange`; raises FormatError."""
    if form == "plain":
        return data
    if form == "shuffle":
        return np.frombuffer(data, np.uint8).reshape(item_bytes, -1).T.tobytes()
    count, rows, columns = shape
    split = added_bytes(form, shape)
    arranged = np.frombuffer(data, np.int8, offset=split).reshape(count, columns, rows).transpose(0, 2, 1)
    if form == "transpose":
        return arranged.tobytes()
    orders = np.frombuffer(data[:split], "<u2").reshape(count, rows)
    if not (np.sort(orders, axis=1) == np.arange(rows)).all():
        raise FormatError("expected each row once in the order of a matrix")
    restored = np.empty(shape, np.int8)
    for matrix, order, sorted_rows in zip(restored, orders, arranged, strict=True):
        matrix[order] = sorted_rows
    return restored.tobytes()


def similarity_order(matrix: np.ndarray) -> np.ndarray:
    """Order the rows of an int8 matrix (R, C) so that each follows the nearest one that is left, from row 0 on.

    Distances are squared and exact: the products in float32 are integers below 2^24 up to 1,040 columns, and sums of
    pieces of so many columns are taken in float64.
    """
    rows = matrix.astype(np.float32)
    norms = (rows.astype(np.float64) ** 2).sum(axis=1)
    order = np.zeros(len(rows), dtype=np.int64)
    left = np.arange(1, len(rows))
    for place in range(1, len(rows)):
        row = rows[order[place - 1]]
        products = sum(
            (rows[left, start : start + 1024] @ row[start : start + 1024]).astype(np.float64)
            for start in range(0, len(row), 1024)
        )
        nearest = int(np.argmin(norms[left] - 2 * products))
        order[place] = left[nearest]
        left = np.delete(left, nearest)
    return order
