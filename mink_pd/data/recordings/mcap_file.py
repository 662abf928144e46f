"""MCAP files with and without chunks, compression and summary, read with the ``mcap`` package."""

import struct
from collections import Counter
from collections.abc import Hashable, Iterator
from pathlib import Path
from typing import BinaryIO

from mcap.data_stream import ReadDataStream
from mcap.exceptions import McapError
from mcap.opcode import Opcode
from mcap.reader import SeekingReader
from mcap.records import Channel, Chunk, McapRecord, Message, Schema
from mcap.stream_reader import MAGIC_SIZE, StreamReader, breakup_chunk
from mcap.summary import Summary

from mink_pd.data.recordings.container import Stored, Topic, message_type
from mink_pd.errors import DataError
from mink_pd.files import reading

_CUT_OFF = (McapError, OSError, struct.error)  # the package's errors for a file that ends too early
_LARGEST_RECORD = 1 << 30  # [bytes]; a damaged length must not exhaust the memory
_INDEX_HEAD = struct.Struct("<BQHI")  # opcode, length, channel and bytes of entries of a message index
_INDEX_ENTRY = 16  # time and offset of a message [bytes]
_REMEDY = "repair it with `mcap recover`, or record it again"


class McapFile:
    """An MCAP file. Messages are in the order of the file."""

    def __init__(self, path: Path) -> None:
        """Read the topics. Raises DataError for a file that is damaged or ends too early."""
        self.path = path
        self._chunk_at, self._chunk_messages = -1, list[Message]()
        self._schemas: dict[int, Schema] = {}
        self._channels: dict[int, Channel] = {}
        with reading(path, remedy=_REMEDY):
            self._file: BinaryIO = path.open("rb")
        try:
            with reading(path, remedy=_REMEDY):
                self._summary = self._read_summary()
                counts = self._counts()
        except BaseException:
            self.close()
            raise
        self.topics = self._topics(counts)

    def messages(self, topic: str) -> Iterator[Stored]:
        """All messages of a topic. The checksum of each chunk is verified."""
        ids = {id for id, channel in self._channels.items() if channel.topic == topic}
        with reading(self.path, remedy=_REMEDY):
            for at in self._offsets(ids):
                for number, message in enumerate(self._messages_at(at)):
                    if message.channel_id in ids:
                        yield Stored((at, number), message.log_time, message.data)

    def read(self, topic: str, location: Hashable) -> bytes:
        """The message at ``location``, which is the offset of its chunk and its number in the chunk."""
        assert isinstance(location, tuple)
        at, number = location
        with reading(self.path, remedy=_REMEDY):
            return self._messages_at(at)[number].data

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _read_summary(self) -> Summary | None:
        """The summary; None if there is none that leads to all messages."""
        try:
            summary = SeekingReader(self._file, record_size_limit=_LARGEST_RECORD).get_summary()
        except _CUT_OFF:  # _counts says where
            return None
        if summary is None or summary.statistics is None:
            return None
        indexed = summary.statistics.chunk_count == len(summary.chunk_indexes) > 0
        return summary if indexed and all(index.message_index_offsets for index in summary.chunk_indexes) else None

    def _counts(self) -> Counter[int]:
        """The number of messages of each channel. Raises DataError for a file that ends too early."""
        if self._summary is not None and self._summary.statistics is not None:
            self._schemas, self._channels = self._summary.schemas, self._summary.channels
            return Counter(self._summary.statistics.channel_message_counts)
        counts: Counter[int] = Counter()
        try:
            for _, record in self._records():
                for part in breakup_chunk(record) if isinstance(record, Chunk) else [record]:
                    self._note(part, counts)
        except _CUT_OFF as error:
            total = counts.total()
            what = "is no MCAP file" if self._file.tell() <= MAGIC_SIZE else f"cut off after message {total:,}"
            raise DataError(f"{self.path}: {what} ({type(error).__name__}); {_REMEDY}") from None
        return counts

    def _note(self, record: McapRecord, counts: Counter[int]) -> None:
        if isinstance(record, Schema):
            self._schemas[record.id] = record
        elif isinstance(record, Channel):
            self._channels[record.id] = record
        elif isinstance(record, Message):
            counts[record.channel_id] += 1

    def _topics(self, counts: Counter[int]) -> dict[str, Topic]:
        topics: dict[str, Topic] = {}
        for id, channel in self._channels.items():
            schema = self._schemas.get(channel.schema_id)
            before = topics[channel.topic].count if channel.topic in topics else 0
            type = message_type(schema.name) if schema else "no schema"
            topics[channel.topic] = Topic(type, channel.message_encoding, before + counts[id])
        return topics

    def _records(self) -> Iterator[tuple[int, McapRecord]]:
        """All records of the file with their offsets; chunks are not unpacked."""
        self._file.seek(0)
        at = MAGIC_SIZE
        for record in StreamReader(self._file, emit_chunks=True, record_size_limit=_LARGEST_RECORD).records:
            yield at, record
            at = self._file.tell()

    def _offsets(self, channels: set[int]) -> list[int]:
        """Offsets of the chunks, and of messages outside chunks, of these channels."""
        if self._summary is not None and not self._index_is_whole(self._summary, channels):
            self._summary = None
        if self._summary is None:
            return [at for at, record in self._records() if isinstance(record, Chunk | Message)]
        chunks = sorted(self._summary.chunk_indexes, key=lambda index: index.chunk_start_offset)
        return [index.chunk_start_offset for index in chunks if channels & index.message_index_offsets.keys()]

    def _index_is_whole(self, summary: Summary, channels: set[int]) -> bool:
        """Whether the index leads to as many messages of these channels as the statistics count.

        It does not lead to messages outside chunks, which a file may have as well.
        """
        assert summary.statistics is not None
        indexed = 0
        for chunk in summary.chunk_indexes:
            for at in (chunk.message_index_offsets[id] for id in channels & chunk.message_index_offsets.keys()):
                self._file.seek(at)
                record = self._file.read(_INDEX_HEAD.size)
                if len(record) < _INDEX_HEAD.size or record[0] != Opcode.MESSAGE_INDEX:
                    return False
                indexed += _INDEX_HEAD.unpack(record)[-1] // _INDEX_ENTRY
        return indexed == sum(summary.statistics.channel_message_counts.get(id, 0) for id in channels)

    def _messages_at(self, at: int) -> list[Message]:
        """The messages of the chunk at an offset, or the single message there. The last result is cached."""
        if at != self._chunk_at:
            self._file.seek(at)
            stream = ReadDataStream(self._file)
            opcode, length = stream.read1(), stream.read8()
            if opcode == Opcode.CHUNK:
                parts = breakup_chunk(Chunk.read(stream), validate_crc=True)
                self._chunk_messages = [part for part in parts if isinstance(part, Message)]
            else:
                self._chunk_messages = [Message.read(stream, length)]
            self._chunk_at = at
        return self._chunk_messages
