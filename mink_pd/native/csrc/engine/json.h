// JSON values (RFC 8259), as much as a detector's file needs.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace mink_pd::engine {

class Json {
 public:
    enum class Kind { NONE, BOOLEAN, NUMBER, TEXT, LIST, OBJECT };

    // Throws Error where the text is not one JSON value.
    static Json parse(std::string_view text);

    // These throw Error where the value is of another kind, or a key is missing.
    bool boolean() const;
    double number() const;
    int64_t integer(int64_t least, int64_t most) const;  // throws outside least .. most as well
    const std::string& text() const;
    const std::vector<Json>& list() const;
    const std::map<std::string, Json>& object() const;
    const Json& operator[](const char* key) const;
    bool is_null() const { return kind_ == Kind::NONE; }
    bool is_text() const { return kind_ == Kind::TEXT; }

    std::vector<double> numbers() const;
    std::vector<double> numbers(size_t count) const;
    std::vector<int64_t> integers(int64_t least, int64_t most) const;

 private:
    friend class JsonReader;
    void expect(Kind kind, const char* name) const;

    Kind kind_ = Kind::NONE;
    double number_ = 0;  // 1 for true
    std::string text_;
    std::vector<Json> list_;
    std::map<std::string, Json> object_;
};

}  // namespace mink_pd::engine
