#include "model_file.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <limits>
#include <memory>
#include <string_view>

#include "core/error.h"

namespace mink_pd::engine {
namespace {

static_assert(std::endian::native == std::endian::little, "safetensors are little-endian");

// The first 32 bytes: magic, version, checksum of all that follows the preamble, how many bytes that is, and zeros.
struct Preamble {
    char magic[8];
    uint32_t version, checksum;
    uint64_t bytes, reserved;
};
static_assert(sizeof(Preamble) == 32);
constexpr char MAGIC[9] = "\x89MINKPD\n";
constexpr uint64_t MOST_BYTES = uint64_t(1) << 32;

// CRC-32 of IEEE 802.3, as zlib's crc32, eight bytes at a time.
uint32_t checksum(const unsigned char* data, size_t count) {
    static const auto tables = [] {
        std::array<std::array<uint32_t, 256>, 8> t{};
        for (uint32_t i = 0; i < 256; ++i) {
            uint32_t value = i;
            for (int bit = 0; bit < 8; ++bit) value = value >> 1 ^ (value & 1 ? 0xedb88320u : 0);
            t[0][i] = value;
        }
        for (size_t k = 1; k < 8; ++k)
            for (uint32_t i = 0; i < 256; ++i) t[k][i] = t[k - 1][i] >> 8 ^ t[0][t[k - 1][i] & 255];
        return t;
    }();
    uint32_t crc = ~0u;
    for (; count >= 8; data += 8, count -= 8) {
        uint64_t word;
        std::memcpy(&word, data, 8);
        word ^= crc;
        crc = 0;
        for (size_t k = 0; k < 8; ++k) crc ^= tables[7 - k][word >> (8 * k) & 255];
    }
    for (; count > 0; ++data, --count) crc = crc >> 8 ^ tables[0][(crc ^ *data) & 255];
    return ~crc;
}

constexpr const char* DAMAGED = "is damaged; copy or export it again";

// Throws unless a file of so many bytes, which begins like this, is one.
void check_preamble(const Preamble& preamble, uint64_t size) {
    if (size < sizeof preamble || std::memcmp(preamble.magic, MAGIC, sizeof preamble.magic) != 0)
        throw Error("is not a detector's file; write one with mink-pd export --to engine");
    if (preamble.version != FILE_VERSION)
        throw Error("has version " + std::to_string(preamble.version) + ", this library reads version " +
                    std::to_string(FILE_VERSION) + "; export it again with the mink_pd of this library");
    require(preamble.reserved == 0 && preamble.bytes >= 8 && preamble.bytes <= MOST_BYTES &&
                size == sizeof preamble + preamble.bytes,
            DAMAGED);
}

Type type_of(const std::string& name) {
    if (name == "F32") return Type::FLOAT32;
    if (name == "I32") return Type::INT32;
    require(name == "I8", "has a tensor of a type that this library does not know");
    return Type::INT8;
}

}  // namespace

int64_t Tensor::count() const {
    int64_t product = 1;
    for (const int64_t extent : shape) product *= extent;
    return product;
}

ModelFile::ModelFile(const std::string& path) {
    const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "rb"), &std::fclose);
    if (!file) throw Error(std::string("cannot be opened: ") + std::strerror(errno));
    Preamble preamble{};
    const size_t begun = std::fread(&preamble, 1, sizeof preamble, file.get());
    const long size = std::fseek(file.get(), 0, SEEK_END) == 0 ? std::ftell(file.get()) : 0;
    check_preamble(preamble, begun == sizeof preamble && size > 0 ? uint64_t(size) : 0);
    memory_.resize((preamble.bytes + sizeof(float) - 1) / sizeof(float));
    require(std::fseek(file.get(), sizeof preamble, SEEK_SET) == 0, DAMAGED);
    require(std::fread(memory_.data(), 1, preamble.bytes, file.get()) == preamble.bytes, DAMAGED);
    read_header(preamble.bytes, preamble.checksum);
}

ModelFile::ModelFile(const void* content, size_t size) {
    Preamble preamble{};
    std::memcpy(&preamble, content, std::min(size, sizeof preamble));
    check_preamble(preamble, size);
    memory_.resize((preamble.bytes + sizeof(float) - 1) / sizeof(float));
    std::memcpy(memory_.data(), static_cast<const char*>(content) + sizeof preamble, preamble.bytes);
    read_header(preamble.bytes, preamble.checksum);
}

void ModelFile::read_header(size_t size, uint32_t expected) {
    const char* bytes = reinterpret_cast<const char*>(memory_.data());
    require(checksum(reinterpret_cast<const unsigned char*>(bytes), size) == expected, DAMAGED);
    uint64_t length;
    std::memcpy(&length, bytes, 8);
    require(length <= size - 8, "has a header longer than itself");
    const Json header = Json::parse({bytes + 8, length});
    const int64_t data = int64_t(size - 8 - length);
    for (const auto& [name, entry] : header.object()) {
        if (name == "__metadata__") {
            description_ = Json::parse(entry["mink_pd"].text());
            continue;
        }
        const auto span = entry["data_offsets"].integers(0, data);
        Tensor tensor{entry["shape"].integers(0, std::numeric_limits<int32_t>::max()), type_of(entry["dtype"].text())};
        const int64_t size_of_one = tensor.type == Type::INT8 ? 1 : 4;
        int64_t count = 1;
        for (const int64_t extent : tensor.shape)
            require(!__builtin_mul_overflow(count, extent, &count), "has a tensor that is too large");
        require(span.size() == 2 && span[0] <= span[1] && (span[1] - span[0]) / size_of_one == count &&
                    (span[1] - span[0]) % size_of_one == 0 && (8 + length + span[0]) % size_of_one == 0,
                "has a tensor that does not fit its bytes");
        const void* begin = bytes + 8 + length + span[0];
        if (tensor.type == Type::FLOAT32) tensor.values = static_cast<const float*>(begin);
        if (tensor.type == Type::INT32) tensor.integers = static_cast<const int32_t*>(begin);
        if (tensor.type == Type::INT8) tensor.bytes = static_cast<const int8_t*>(begin);
        tensors_.emplace(name, std::move(tensor));
    }
}

const Tensor& ModelFile::tensor(const std::string& name, const std::vector<int64_t>& shape, Type type) const {
    const auto found = tensors_.find(name);
    if (found == tensors_.end()) throw Error("lacks the tensor '" + name + "'");
    if (found->second.type != type) throw Error("has a tensor '" + name + "' of an odd type");
    const std::vector<int64_t>& actual = found->second.shape;
    bool fits = actual.size() == shape.size();
    for (size_t d = 0; fits && d < shape.size(); ++d) fits = shape[d] == -1 || shape[d] == actual[d];
    if (!fits) throw Error("has a tensor '" + name + "' of another shape than its description says");
    return found->second;
}

}  // namespace mink_pd::engine
