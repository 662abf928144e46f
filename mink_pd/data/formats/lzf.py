"""LZF decompression (Marc Lehmann's liblzf), which binary_compressed PCD files need."""


def decompress(data: bytes, size: int) -> bytes:
    """The ``size`` bytes that ``data`` holds. Raises ValueError where it holds fewer or more, or is damaged.

    A control byte below 32 introduces that many bytes plus one as they are; others copy bytes from the output: three
    bits of length (7: one more byte follows), thirteen of distance.
    """
    out = bytearray()
    at, end = 0, len(data)
    while at < end:
        control = data[at]
        at += 1
        if control < 32:
            out += data[at : at + control + 1]
            at += control + 1
            continue
        extended = control >> 5 == 7
        if at + extended >= end:
            raise ValueError("cut off within a copy")
        length = (control >> 5) + 2 + (data[at] if extended else 0)
        start = len(out) - (((control & 31) << 8) | data[at + extended]) - 1
        at += 1 + extended
        if start < 0 or len(out) > size:
            raise ValueError("a copy reaches outside the data")
        piece = out[start : start + length]
        while len(piece) < length:  # overlaps what it writes: the piece repeats itself
            piece = piece + piece
        out += piece[:length]
    if at > end or len(out) != size:
        raise ValueError(f"holds {len(out)} bytes instead of {size}")
    return bytes(out)
