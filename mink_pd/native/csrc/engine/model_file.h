// The file of a detector: a preamble, and a safetensors file with a description in its metadata (docs/engine.md).
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "json.h"

namespace mink_pd::engine {

constexpr uint32_t FILE_VERSION = 4;  // the only one that is read

enum class Type { FLOAT32, INT32, INT8 };

// Within the file's memory; of the three pointers, the one of its type is set.
struct Tensor {
    std::vector<int64_t> shape;
    Type type;
    const float* values = nullptr;
    const int32_t* integers = nullptr;
    const int8_t* bytes = nullptr;

    int64_t count() const;
};

class ModelFile {
 public:
    // These throw Error where the file cannot be read, is damaged, or is newer than this library.
    explicit ModelFile(const std::string& path);
    ModelFile(const void* content, size_t size);

    const Json& description() const { return description_; }
    // Throws Error where there is none of this name, shape and type; an extent of -1 fits any.
    const Tensor& tensor(const std::string& name, const std::vector<int64_t>& shape, Type type = Type::FLOAT32) const;
    bool has(const std::string& name, Type type = Type::FLOAT32) const {
        const auto found = tensors_.find(name);
        return found != tensors_.end() && found->second.type == type;
    }

 private:
    void read_header(size_t size, uint32_t checksum);

    std::vector<float> memory_;  // floats: tensors are aligned then
    Json description_;
    std::map<std::string, Tensor> tensors_;
};

}  // namespace mink_pd::engine
