"""LZF decompression (Marc Lehmann's liblzf) for binary_compressed PCD files."""


def decompress(data: bytes, size: int) -> bytes:
    """The ``size`` bytes that ``data`` decompresses to. Raises ValueError for another size or damaged data.

    A control byte c below 32 precedes c + 1 literal bytes. Other control bytes copy from the output, with three bits
    of length (7: one more byte follows) and thirteen bits of distance.
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
        while len(piece) < length:  # the copy overlaps its own output, so the piece repeats
            piece = piece + piece
        out += piece[:length]
    if at > end or len(out) != size:
        raise ValueError(f"contains {len(out)} bytes instead of {size}")
    return bytes(out)
