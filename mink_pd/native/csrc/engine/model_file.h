// The file of a detector: a preamble, and a safetensors file with a description in its metadata (docs/engine.md).
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "json.h"

namespace mink_pd::engine {

constexpr uint32_t FILE_VERSION = 2;  // the newest that is read

struct Tensor {
    std::vector<int64_t> shape;
    const float* values;  // within the file's memory

    int64_t count() const;
};

class ModelFile {
 public:
    // These throw Error where the file cannot be read, is damaged, or is newer than this library.
    explicit ModelFile(const std::string& path);
    ModelFile(const void* content, size_t size);

    const Json& description() const { return description_; }
    // Throws Error where there is none of this name and shape; an extent of -1 fits any.
    const Tensor& tensor(const std::string& name, const std::vector<int64_t>& shape) const;
    bool has(const std::string& name) const { return tensors_.contains(name); }

 private:
    void read_header(size_t size, uint32_t checksum);

    std::vector<float> memory_;  // floats: tensors are aligned then
    Json description_;
    std::map<std::string, Tensor> tensors_;
};

}  // namespace mink_pd::engine
