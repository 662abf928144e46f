"""Property tests: whatever a file holds, a reader yields points or one line that names it."""

import contextlib
import io
import tracemalloc
from pathlib import Path

import laspy
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mink_pd.config.points import PointsConfig
from mink_pd.data.formats import SUFFIXES
from mink_pd.data.formats.lzf import decompress
from mink_pd.data.points import read_cloud
from mink_pd.errors import DataError

POINTS = np.random.default_rng(0).uniform(-20, 20, (12, 4)).clip(-20, 1).astype(np.float32)
MOST = 50_000_000  # bytes that reading a file of a kilobyte may take
ODD = [b"-1", b"0", b"4294967295", b"9" * 30, b"\xff" * 4, b"\xff" * 8, b"nan", b" ", b"\n"]
quick = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def pcd(data: str, body: bytes) -> bytes:
    header = "FIELDS x y z intensity\nSIZE 4 4 4 4\nTYPE F F F F\nCOUNT 1 1 1 1\nWIDTH 12\nHEIGHT 1\nPOINTS 12\n"
    return f"{header}DATA {data}\n".encode() + body


def literal(data: bytes) -> bytes:
    """LZF without any copy."""
    return b"".join(bytes([len(data[n : n + 32]) - 1]) + data[n : n + 32] for n in range(0, len(data), 32))


def las(compressed: bool) -> bytes:
    cloud = laspy.LasData(laspy.LasHeader(point_format=0, version="1.2"))
    cloud.x, cloud.y, cloud.z = POINTS[:, :3].T.astype(float)
    file = io.BytesIO()
    cloud.write(file, do_compress=compressed)
    return file.getvalue()


def seeds() -> list[tuple[str, bytes]]:
    """A valid small file of every kind and encoding."""
    text = "".join(" ".join(map(str, row)) + "\n" for row in POINTS.tolist()).encode()
    packed = literal(POINTS.T.tobytes())
    sizes = np.array([len(packed), POINTS.nbytes], "<u4").tobytes()
    properties = "".join(f"property float {name}\n" for name in ("x", "y", "z", "intensity"))
    ply = f"ply\nformat {{}} 1.0\nelement vertex 12\n{properties}end_header\n"
    npy, npz = io.BytesIO(), io.BytesIO()
    np.save(npy, POINTS)
    np.savez_compressed(npz, points=POINTS)
    return [
        (".bin", POINTS.tobytes()),
        (".pcd", pcd("ascii", text)),
        (".pcd", pcd("binary", POINTS.tobytes())),
        (".pcd", pcd("binary_compressed", sizes + packed)),
        (".ply", ply.format("ascii").encode() + text),
        (".ply", ply.format("binary_big_endian").encode() + POINTS.astype(">f4").tobytes()),
        (".npy", npy.getvalue()),
        (".npz", npz.getvalue()),
        (".las", las(False)),
        (".laz", las(True)),
    ]


SEEDS = seeds()


def reads_or_names(path: Path) -> None:
    tracemalloc.start()
    message = ""
    try:
        cloud = read_cloud(path, PointsConfig(intensity="none"))
        assert cloud.points.dtype == np.float32
        assert cloud.points.shape[1] == 4
        assert np.isfinite(cloud.points).all()
    except DataError as error:
        message = str(error)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < MOST
    assert not message or message.startswith(f"{path}: ")
    assert "\n" not in message
    assert len(message) < 1000


@pytest.mark.parametrize(("suffix", "content"), SEEDS)
def test_the_undamaged_files_are_read(tmp_path: Path, suffix: str, content: bytes) -> None:
    (tmp_path / f"a{suffix}").write_bytes(content)
    cloud = read_cloud(tmp_path / f"a{suffix}", PointsConfig(intensity="none"))
    np.testing.assert_allclose(cloud.points[:, :3], POINTS[:, :3], atol=0.01)


@quick
@given(suffix=st.sampled_from(SUFFIXES), content=st.binary(max_size=300))
def test_any_bytes(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(content)
    reads_or_names(path)


@quick
@given(data=st.data())
def test_damaged_files(tmp_path: Path, data: st.DataObject) -> None:
    """Bytes replaced, cut out, repeated or added; digits of headers replaced by large and negative numbers."""
    suffix, content = data.draw(st.sampled_from(SEEDS))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content)))
        length = data.draw(st.integers(0, 40))
        numbers = st.sampled_from(
            [b"-1", b"0", b"4294967295", b"9" * 30, b"\xff" * 4, b"\xff" * 8, b"nan", b" ", b"\n"]
        )
        piece = data.draw(st.one_of(numbers, st.binary(max_size=8), st.just(content[at : at + length])))
        content = content[:at] + piece + content[at + length :]
    path = tmp_path / f"a{suffix}"
    path.write_bytes(content)
    reads_or_names(path)


@st.composite
def lzf_streams(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """A stream of literal runs and copies, and what it means byte by byte."""
    packed, out = bytearray(), bytearray()
    for _ in range(draw(st.integers(1, 12))):
        if not out or draw(st.booleans()):
            run = draw(st.binary(min_size=1, max_size=32))
            packed += bytes([len(run) - 1]) + run
            out += run
            continue
        distance = draw(st.integers(1, min(len(out), 8192)))
        length = draw(st.integers(3, 264))
        short = length - 2
        high, low = divmod(distance - 1, 256)
        packed += bytes([short << 5 | high, low]) if short < 7 else bytes([7 << 5 | high, short - 7, low])
        for _ in range(length):
            out.append(out[-distance])
    return bytes(packed), bytes(out)


@quick
@given(lzf_streams())
def test_lzf_is_what_its_format_says(stream: tuple[bytes, bytes]) -> None:
    packed, out = stream
    assert decompress(packed, len(out)) == out
    for wrong in (len(out) - 1, len(out) + 1):
        with pytest.raises(ValueError, match=r"instead of|outside"):
            decompress(packed, wrong)


@quick
@given(packed=st.binary(max_size=200), size=st.integers(0, 500))
def test_lzf_of_any_bytes_ends(packed: bytes, size: int) -> None:
    with contextlib.suppress(ValueError):
        assert len(decompress(packed, size)) == size
