"""Point cloud files as bytes, for tests."""

import numpy as np

POINTS = np.array([[1, 2, 3, 0.5], [4, 5, 6, 0.25], [-7.5, 8, 9, 1.0]], np.float32)
PCD_TYPES = {"F": "f", "U": "u", "I": "i"}


def pcd(columns: list[tuple[str, str, int, np.ndarray]], data: str = "binary", **header: object) -> bytes:
    """A PCD file of columns (name, type, size, values (P,) or (P, count)); ``header`` replaces entries."""
    arrays = [np.asarray(values, f"<{PCD_TYPES[kind]}{size}") for _, kind, size, values in columns]
    arrays = [array[:, None] if array.ndim == 1 else array for array in arrays]
    entries: dict[str, object] = {
        "VERSION": "0.7",
        "FIELDS": " ".join(name for name, *_ in columns),
        "SIZE": " ".join(str(size) for _, _, size, _ in columns),
        "TYPE": " ".join(kind for _, kind, _, _ in columns),
        "COUNT": " ".join(str(array.shape[1]) for array in arrays),
        "WIDTH": len(arrays[0]),
        "HEIGHT": 1,
        "VIEWPOINT": "0 0 0 1 0 0 0",
        "POINTS": len(arrays[0]),
        "DATA": data,
    }
    lines = "".join(f"{key} {value}\n" for key, value in (entries | header).items())
    if data == "ascii":
        rows = [" ".join(repr(v) for array in arrays for v in array[n].tolist()) for n in range(len(arrays[0]))]
        return (lines + "".join(f"{row}\n" for row in rows)).encode()
    return lines.encode() + b"".join(array[n].tobytes() for n in range(len(arrays[0])) for array in arrays)


def plain(points: np.ndarray, data: str = "binary", **header: object) -> bytes:
    names = ("x", "y", "z", "intensity")
    return pcd([(name, "F", 4, points[:, n]) for n, name in enumerate(names)], data, **header)


def ply(columns: list[tuple[str, str, str, np.ndarray]], data: str = "binary_little_endian") -> bytes:
    """A PLY file of columns (name, PLY's type, NumPy's type, values (P,))."""
    count = len(columns[0][3])
    properties = "".join(f"property {kind} {name}\n" for name, kind, *_ in columns)
    header = f"ply\nformat {data} 1.0\ncomment made\nelement vertex {count}\n{properties}end_header\n".encode()
    if data == "ascii":
        rows = zip(*(values.tolist() for *_, values in columns), strict=True)
        return header + "".join(" ".join(map(repr, row)) + "\n" for row in rows).encode()
    order = "<" if data == "binary_little_endian" else ">"
    table = np.zeros(count, [(name, order + kind) for name, _, kind, _ in columns])
    for name, *_, values in columns:
        table[name] = values
    return header + table.tobytes()


def plain_ply(points: np.ndarray, data: str = "binary_little_endian") -> bytes:
    return ply([(name, "float", "f4", points[:, n]) for n, name in enumerate(("x", "y", "z", "intensity"))], data)


def surroundings(count: int = 2000) -> np.ndarray:
    """Points as a LiDAR sees them, float32 (P, 4)."""
    rng = np.random.default_rng(0)
    return rng.uniform([0, -20, -2, 0], [50, 20, 1, 1], (count, 4)).astype(np.float32)
