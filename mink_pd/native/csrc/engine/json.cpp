#include "json.h"

#include <charconv>
#include <cmath>

#include "core/error.h"

namespace mink_pd::engine {
namespace {

constexpr int MOST_LEVELS = 32;

void append_utf8(std::string& text, uint32_t code) {
    const auto add = [&](uint32_t byte) { text.push_back(char(byte)); };
    if (code < 0x80) return add(code);
    if (code < 0x800) return add(0xc0 | code >> 6), add(0x80 | (code & 63));
    if (code < 0x10000)
        add(0xe0 | code >> 12);
    else
        add(0xf0 | code >> 18), add(0x80 | (code >> 12 & 63));
    add(0x80 | (code >> 6 & 63)), add(0x80 | (code & 63));
}

}  // namespace

class JsonReader {
 public:
    explicit JsonReader(std::string_view text) : text_(text) {}

    Json read_all() {
        Json value = read(0);
        skip_space();
        if (at_ != text_.size()) fail();
        return value;
    }

 private:
    [[noreturn]] static void fail() { throw Error("its description is not JSON"); }
    char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }
    bool take(char wanted) {
        skip_space();
        const bool there = peek() == wanted;
        at_ += there;
        return there;
    }
    void skip_space() {
        while (peek() == ' ' || peek() == '\n' || peek() == '\r' || peek() == '\t') ++at_;
    }
    bool take_word(std::string_view word) {
        const bool there = text_.substr(at_, word.size()) == word;
        if (there) at_ += word.size();
        return there;
    }

    Json read(int level) {
        if (level > MOST_LEVELS) fail();
        Json value;
        if (take('{')) {
            value.kind_ = Json::Kind::OBJECT;
            if (take('}')) return value;
            do {
                if (!take('"')) fail();
                std::string key = read_text();
                if (!take(':')) fail();
                if (!value.object_.emplace(std::move(key), read(level + 1)).second) fail();
            } while (take(','));
            if (!take('}')) fail();
        } else if (take('[')) {
            value.kind_ = Json::Kind::LIST;
            if (take(']')) return value;
            do value.list_.push_back(read(level + 1));
            while (take(','));
            if (!take(']')) fail();
        } else if (take('"')) {
            value.kind_ = Json::Kind::TEXT;
            value.text_ = read_text();
        } else if (take_word("true")) {
            value.kind_ = Json::Kind::BOOLEAN, value.number_ = 1;
        } else if (take_word("false")) {
            value.kind_ = Json::Kind::BOOLEAN;
        } else if (!take_word("null")) {
            value.kind_ = Json::Kind::NUMBER;
            value.number_ = read_number();
        }
        return value;
    }

    double read_number() {
        double number = 0;
        const char* end = text_.data() + text_.size();
        const auto [stop, error] = std::from_chars(text_.data() + at_, end, number);
        if (error != std::errc() || !std::isfinite(number)) fail();
        at_ = size_t(stop - text_.data());
        return number;
    }

    std::string read_text() {
        std::string result;
        while (peek() != '"') {
            if (at_ >= text_.size() || uint8_t(peek()) < 0x20) fail();
            const char letter = text_[at_++];
            if (letter != '\\') {
                result.push_back(letter);
                continue;
            }
            constexpr std::string_view NAMES = "\"\\/bfnrt", LETTERS = "\"\\/\b\f\n\r\t";
            const char name = peek();
            ++at_;
            if (const size_t found = NAMES.find(name); name != '\0' && found != NAMES.npos)
                result.push_back(LETTERS[found]);
            else if (name == 'u')
                append_utf8(result, read_character());
            else
                fail();
        }
        ++at_;
        return result;
    }

    // After \u: one code, or two that stand for a character beyond 16 bits (RFC 8259, section 7).
    uint32_t read_character() {
        const uint32_t first = read_code();
        if (first < 0xd800 || first >= 0xe000) return first;
        if (first >= 0xdc00 || text_.substr(at_, 2) != "\\u") fail();
        at_ += 2;
        const uint32_t second = read_code();
        if (second < 0xdc00 || second >= 0xe000) fail();
        return 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
    }

    uint32_t read_code() {
        uint32_t code = 0;
        const char* first = text_.data() + at_;
        if (text_.size() - at_ < 4 || std::from_chars(first, first + 4, code, 16).ptr != first + 4) fail();
        at_ += 4;
        return code;
    }

    std::string_view text_;
    size_t at_ = 0;
};

Json Json::parse(std::string_view text) { return JsonReader(text).read_all(); }

void Json::expect(Kind kind, const char* name) const {
    if (kind_ != kind) throw Error(std::string("its description has no ") + name + " where one is wanted");
}

bool Json::boolean() const { return expect(Kind::BOOLEAN, "true or false"), number_ != 0; }
double Json::number() const { return expect(Kind::NUMBER, "number"), number_; }
const std::string& Json::text() const { return expect(Kind::TEXT, "text"), text_; }
const std::vector<Json>& Json::list() const { return expect(Kind::LIST, "list"), list_; }
const std::map<std::string, Json>& Json::object() const { return expect(Kind::OBJECT, "object"), object_; }

int64_t Json::integer(int64_t least, int64_t most) const {
    const double value = number();
    if (value != std::floor(value) || value < double(least) || value > double(most))
        throw Error("its description has a number out of range");
    return int64_t(value);
}

const Json& Json::operator[](const char* key) const {
    const auto found = object().find(key);
    if (found == object_.end()) throw Error(std::string("its description lacks '") + key + "'");
    return found->second;
}

std::vector<double> Json::numbers() const {
    std::vector<double> result;
    for (const Json& value : list()) result.push_back(value.number());
    return result;
}

std::vector<double> Json::numbers(size_t count) const {
    const std::vector<double> result = numbers();
    if (result.size() != count) throw Error("its description has a list of another length than is wanted");
    return result;
}

std::vector<int64_t> Json::integers(int64_t least, int64_t most) const {
    std::vector<int64_t> result;
    for (const Json& value : list()) result.push_back(value.integer(least, most));
    return result;
}

}  // namespace mink_pd::engine
