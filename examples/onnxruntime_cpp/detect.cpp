// Detects objects in a KITTI .bin cloud with a PointPillars that "mink-pd export RUN --to onnx --out DIR" has written.
//
//   detect DIR CLOUD.bin
//
// prints a line for each box, best first: class score x y z l w h yaw (centre, metres, radians, LiDAR frame). All
// numbers come from DIR/model.yaml; the two graphs run in ONNX Runtime, everything around them is in this file.
#include <onnxruntime_c_api.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <fstream>
#include <iostream>
#include <map>
#include <numeric>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

using Floats = std::vector<float>;

// --- model.yaml ----------------------------------------------------------------------------------------------------

// The YAML that export writes: nested mappings by indentation, lists in brackets or with dashes, no anchors.
struct Node {
    std::string text;                                    // of a scalar
    std::vector<std::pair<std::string, Node>> children;  // of a mapping; of a list with empty keys
    const Node& operator[](const std::string& key) const {
        for (const auto& child : children)
            if (child.first == key) return child.second;
        throw std::runtime_error("model.yaml: no key '" + key + "'");
    }
    float number() const { return std::stof(text); }
    Floats numbers() const {
        Floats result;
        for (const auto& child : children) result.push_back(child.second.number());
        return result;
    }
    std::vector<std::string> texts() const {
        std::vector<std::string> result;
        for (const auto& child : children) result.push_back(child.second.text);
        return result;
    }
};

class Yaml {
 public:
    explicit Yaml(std::istream& stream) {
        for (std::string line; std::getline(stream, line);) {
            const auto first = line.find_first_not_of(' ');
            if (first == std::string::npos) continue;
            // A list or mapping in brackets may go on over several lines.
            while (std::count(line.begin(), line.end(), '[') + std::count(line.begin(), line.end(), '{') >
                   std::count(line.begin(), line.end(), ']') + std::count(line.begin(), line.end(), '}')) {
                std::string more;
                if (!std::getline(stream, more)) throw std::runtime_error("model.yaml: ends inside brackets");
                line += ' ' + more.substr(std::min(more.find_first_not_of(' '), more.size()));
            }
            lines_.push_back({static_cast<int>(first), line.substr(first)});
        }
    }
    Node read() { return block(0); }

 private:
    struct Line {
        int indent;
        std::string text;
    };

    Node block(int indent) {
        Node result;
        while (at_ < lines_.size() && lines_[at_].indent >= indent) {
            Line& line = lines_[at_];
            if (line.text.rfind("- ", 0) == 0) {
                result.children.push_back({"", item()});
                continue;
            }
            const auto end = key_end(line.text);
            if (end == std::string::npos) throw std::runtime_error("model.yaml: cannot read '" + line.text + "'");
            const std::string key = unquoted(line.text.substr(0, end));
            const std::string value = end + 2 <= line.text.size() ? line.text.substr(end + 2) : "";
            const int own = line.indent;
            ++at_;
            if (!value.empty()) {
                result.children.push_back({key, flow(value)});
            } else {
                const bool list =
                    at_ < lines_.size() && lines_[at_].indent == own && lines_[at_].text.rfind("- ", 0) == 0;
                result.children.push_back({key, list ? items(own) : block(own + 1)});
            }
        }
        return result;
    }

    Node items(int indent) {  // a list whose dashes stand below the key
        Node result;
        while (at_ < lines_.size() && lines_[at_].indent == indent && lines_[at_].text.rfind("- ", 0) == 0)
            result.children.push_back({"", item()});
        return result;
    }

    Node item() {  // what stands behind a dash: a value, or a mapping that begins there
        Line& line = lines_[at_];
        const std::string rest = line.text.substr(2);
        if (rest[0] == '{' || rest[0] == '[' || key_end(rest) == std::string::npos) {
            ++at_;
            return flow(rest);
        }
        const int indent = line.indent + 2;
        line = {indent, rest};
        return block(indent);
    }

    static std::string::size_type key_end(const std::string& text) {
        const auto end = text.find(": ");
        return end != std::string::npos ? end : (text.back() == ':' ? text.size() - 1 : std::string::npos);
    }

    static std::string unquoted(std::string text) {
        const auto first = text.find_first_not_of(' '), last = text.find_last_not_of(' ');
        text = first == std::string::npos ? "" : text.substr(first, last - first + 1);
        if (text.size() >= 2 && (text.front() == '\'' || text.front() == '"')) text = text.substr(1, text.size() - 2);
        return text;
    }

    static Node flow(const std::string& text) {
        Node result;
        if (text.front() != '[' && text.front() != '{') {
            result.text = unquoted(text);
            return result;
        }
        int depth = 0;
        std::string part;
        auto take = [&] {
            if (part.find_first_not_of(' ') == std::string::npos) return;
            const std::string item = part.substr(part.find_first_not_of(' '));
            const auto colon = text.front() == '{' ? item.find(": ") : std::string::npos;
            if (colon == std::string::npos)
                result.children.push_back({"", flow(item)});
            else
                result.children.push_back({unquoted(item.substr(0, colon)), flow(item.substr(colon + 2))});
            part.clear();
        };
        for (const char c : text.substr(1, text.find_last_of("]}") - 1)) {
            depth += (c == '[' || c == '{') - (c == ']' || c == '}');
            if (c == ',' && depth == 0)
                take();
            else
                part += c;
        }
        take();
        return result;
    }

    std::vector<Line> lines_;
    std::size_t at_ = 0;
};

// --- ONNX Runtime --------------------------------------------------------------------------------------------------

const OrtApi* const api = OrtGetApiBase()->GetApi(ORT_API_VERSION);

void check(OrtStatus* status) {
    if (status == nullptr) return;
    const std::string text = api->GetErrorMessage(status);
    api->ReleaseStatus(status);
    throw std::runtime_error("ONNX Runtime: " + text);
}

class Graph {
 public:
    Graph(const OrtEnv* environment, const std::string& path) {
        OrtSessionOptions* options = nullptr;
        check(api->CreateSessionOptions(&options));
        check(api->CreateSession(environment, path.c_str(), options, &session_));
        api->ReleaseSessionOptions(options);
        check(api->CreateCpuMemoryInfo(OrtArenaAllocator, OrtMemTypeDefault, &memory_));
    }
    ~Graph() {
        api->ReleaseMemoryInfo(memory_);
        api->ReleaseSession(session_);
    }
    Graph(const Graph&) = delete;
    Graph& operator=(const Graph&) = delete;

    std::vector<Floats> run(const char* input, Floats& data, const std::vector<std::int64_t>& shape,
                            const std::vector<const char*>& outputs) const {
        OrtValue* value = nullptr;
        check(api->CreateTensorWithDataAsOrtValue(memory_, data.data(), data.size() * sizeof(float), shape.data(),
                                                  shape.size(), ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, &value));
        std::vector<OrtValue*> found(outputs.size(), nullptr);
        OrtStatus* status =
            api->Run(session_, nullptr, &input, &value, 1, outputs.data(), outputs.size(), found.data());
        api->ReleaseValue(value);
        check(status);
        std::vector<Floats> result;
        for (OrtValue* one : found) {
            OrtTensorTypeAndShapeInfo* info = nullptr;
            std::size_t count = 0;
            float* values = nullptr;
            check(api->GetTensorTypeAndShape(one, &info));
            check(api->GetTensorShapeElementCount(info, &count));
            check(api->GetTensorMutableData(one, reinterpret_cast<void**>(&values)));
            result.emplace_back(values, values + count);
            api->ReleaseTensorTypeAndShapeInfo(info);
            api->ReleaseValue(one);
        }
        return result;
    }

 private:
    OrtSession* session_ = nullptr;
    OrtMemoryInfo* memory_ = nullptr;
};

// --- before the graphs ---------------------------------------------------------------------------------------------

using Point = std::array<float, 4>;  // x, y, z [m], intensity

std::vector<Point> read_cloud(const std::string& path, const Node& card) {
    std::ifstream file(path, std::ios::binary | std::ios::ate);
    if (!file) throw std::runtime_error(path + ": cannot be read");
    const auto size = static_cast<std::size_t>(file.tellg());
    if (size % sizeof(Point) != 0) throw std::runtime_error(path + ": is no whole number of points of 16 bytes");
    std::vector<Point> points(size / sizeof(Point));
    file.seekg(0).read(reinterpret_cast<char*>(points.data()), static_cast<std::streamsize>(size));
    const std::string& said = card["cloud"]["intensity"].text;
    for (Point& point : points) {
        point[3] = said == "none" ? 0 : (said == "by_type" ? point[3] : point[3] / std::stof(said));
        if (point[3] > 1) throw std::runtime_error(path + ": has intensities above their full scale, " + said);
    }
    return points;
}

struct Rows {  // of pillars: features (count, slots, 10) and the cell y * columns + x of each
    Floats features;
    std::vector<std::int64_t> cells;
};

Rows pillar_rows(const std::vector<Point>& points, const Node& card) {
    const Floats range = card["range"].numbers(), size = card["voxel_size"].numbers();
    const int columns = static_cast<int>(card["grid"].children[0].second.number());
    const int lines = static_cast<int>(card["grid"].children[1].second.number());
    const auto slots = static_cast<std::size_t>(card["pillars"]["slots"].number());
    const bool drop = card["pillars"]["overflow"].text == "drop";
    const int layers = std::max(1, static_cast<int>(std::lround((range[5] - range[2]) / size[2])));
    std::map<std::int64_t, std::vector<const Point*>> pillars;
    for (const Point& point : points) {
        if (point[0] == 0 && point[1] == 0 && point[2] == 0) continue;  // no return
        const float x = std::floor((point[0] - range[0]) / size[0]), y = std::floor((point[1] - range[1]) / size[1]);
        const float z = std::floor((point[2] - range[2]) / size[2]);
        if (!(x >= 0 && x < columns && y >= 0 && y < lines && z >= 0 && z < layers)) continue;
        auto& own = pillars[static_cast<std::int64_t>(y) * columns + static_cast<std::int64_t>(x)];
        if (!drop || own.size() < slots) own.push_back(&point);
    }
    Rows rows;
    for (const auto& [cell, own] : pillars) {
        std::array<double, 3> mean{};
        for (const Point* point : own)
            for (int axis = 0; axis < 3; ++axis) mean[axis] += (*point)[axis] / static_cast<double>(own.size());
        const std::array<float, 3> centre{range[0] + (static_cast<float>(cell % columns) + 0.5F) * size[0],
                                          range[1] + (static_cast<float>(cell / columns) + 0.5F) * size[1],
                                          (range[2] + range[5]) / 2};
        for (std::size_t at = 0; at < own.size(); ++at) {
            if (at % slots == 0) {  // the pillar's first row, or one more
                rows.cells.push_back(cell);
                rows.features.resize(rows.cells.size() * slots * 10, 0);
            }
            float* slot = &rows.features[((rows.cells.size() - 1) * slots + at % slots) * 10];
            for (int i = 0; i < 4; ++i) slot[i] = (*own[at])[i];
            for (int i = 0; i < 3; ++i) slot[4 + i] = (*own[at])[i] - static_cast<float>(mean[i]);
            for (int i = 0; i < 3; ++i) slot[7 + i] = (*own[at])[i] - centre[i];
        }
    }
    return rows;
}

// --- behind the graphs ---------------------------------------------------------------------------------------------

struct Box {
    int label;
    float score;
    std::array<float, 7> values;  // x, y, z, l, w, h, yaw
};

using Corner = std::array<double, 2>;

std::vector<Corner> corners(const Box& box) {
    const auto& b = box.values;
    std::vector<Corner> result;
    for (const auto& [u, v] : {Corner{1, 1}, Corner{-1, 1}, Corner{-1, -1}, Corner{1, -1}}) {
        const double x = u * b[3] / 2, y = v * b[4] / 2, c = std::cos(b[6]), s = std::sin(b[6]);
        result.push_back({b[0] + c * x - s * y, b[1] + s * x + c * y});
    }
    return result;
}

double area(const std::vector<Corner>& polygon) {
    double twice = 0;
    for (std::size_t i = 0; i < polygon.size(); ++i) {
        const Corner &a = polygon[i], &b = polygon[(i + 1) % polygon.size()];
        twice += a[0] * b[1] - a[1] * b[0];
    }
    return twice / 2;
}

// Overlap seen from above: one rectangle cut by the edges of the other (Sutherland and Hodgman 1974).
double iou(const Box& one, const Box& other) {
    std::vector<Corner> shared = corners(one);
    const std::vector<Corner> cut = corners(other);
    for (std::size_t i = 0; i < 4; ++i) {
        const Corner &a = cut[i], &b = cut[(i + 1) % 4];
        auto side = [&](const Corner& p) { return (b[0] - a[0]) * (p[1] - a[1]) - (b[1] - a[1]) * (p[0] - a[0]); };
        std::vector<Corner> left;
        for (std::size_t k = 0; k < shared.size(); ++k) {
            const Corner &p = shared[k], &q = shared[(k + 1) % shared.size()];
            const double from = side(p), to = side(q);
            if (from >= 0) left.push_back(p);
            if ((from > 0 && to < 0) || (from < 0 && to > 0)) {
                const double t = from / (from - to);
                left.push_back({p[0] + t * (q[0] - p[0]), p[1] + t * (q[1] - p[1])});
            }
        }
        shared = left;
    }
    const double both = shared.size() < 3 ? 0 : area(shared);
    return both / (one.values[3] * one.values[4] + other.values[3] * other.values[4] - both);
}

std::vector<Box> decode(const std::vector<Floats>& maps, const Node& card) {
    const Floats range = card["range"].numbers(), size = card["voxel_size"].numbers();
    const Node& head = card["head"];
    const auto classes = card["classes"].children.size(), anchors = card["anchors"].children.size();
    const int stride = static_cast<int>(card["strides"].children[0].second.number());
    const int columns = static_cast<int>(card["grid"].children[0].second.number()) / stride;
    const int lines = static_cast<int>(card["grid"].children[1].second.number()) / stride;
    const std::size_t cells = static_cast<std::size_t>(columns) * static_cast<std::size_t>(lines);
    const float lowest = card["nms"]["score"].number(), empty = card["empty_logit"].number();
    const float offset = head["direction_offset"].number(), pi = 3.14159265358979F, most = std::log(50.0F);
    const bool ends = head["places"].text == "ends";
    const float scale = head["scales"].numbers()[0];  // of the anchors, which keep their bottom
    std::vector<Box> result;
    for (std::size_t cell = 0; cell < cells; ++cell) {
        const auto column = static_cast<float>(cell % static_cast<std::size_t>(columns));
        const auto line = static_cast<float>(cell / static_cast<std::size_t>(columns));
        const float x = ends ? range[0] + column * (range[3] - range[0]) / static_cast<float>(columns - 1)
                             : range[0] + (column + 0.5F) * size[0] * static_cast<float>(stride);
        const float y = ends ? range[1] + line * (range[4] - range[1]) / static_cast<float>(lines - 1)
                             : range[1] + (line + 0.5F) * size[1] * static_cast<float>(stride);
        for (std::size_t kind = 0; kind < anchors; ++kind) {
            for (std::size_t label = 0; label < classes; ++label) {
                const float logit = maps[0][(kind * classes + label) * cells + cell];
                const float score = 1 / (1 + std::exp(-logit));
                if (logit <= empty || score < lowest) continue;
                const Node& anchor = card["anchors"].children[kind].second;
                Floats edges = anchor["size"].numbers();
                const float bottom = anchor["z"].number() - edges[2] / 2;
                for (float& edge : edges) edge *= scale;
                auto residual = [&](std::size_t i) { return maps[1][(kind * 7 + i) * cells + cell]; };
                auto length = [&](std::size_t i) {
                    return std::exp(std::clamp(residual(3 + i), -most, most)) * edges[i];
                };
                const float diagonal = std::hypot(edges[0], edges[1]);
                const bool turned = maps[2][(kind * 2 + 1) * cells + cell] > maps[2][kind * 2 * cells + cell];
                float yaw = std::fmod(residual(6) + anchor["yaw"].number() - offset, pi);
                yaw = (yaw < 0 ? yaw + pi : yaw) + offset + (turned ? pi : 0);
                result.push_back(
                    {static_cast<int>(label),
                     score,
                     {x + residual(0) * diagonal, y + residual(1) * diagonal,
                      bottom + edges[2] / 2 + residual(2) * edges[2], length(0), length(1), length(2), yaw}});
            }
        }
    }
    return result;
}

std::vector<Box> suppress(std::vector<Box> boxes, const Node& card) {
    const double limit = card["nms"]["iou"].number();
    const auto before = static_cast<std::size_t>(card["nms"]["before"].number());
    const auto after = static_cast<std::size_t>(card["nms"]["after"].number());
    std::stable_sort(boxes.begin(), boxes.end(), [](const Box& a, const Box& b) { return a.score > b.score; });
    std::vector<std::size_t> seen(card["classes"].children.size(), 0);
    std::vector<Box> kept;
    for (const Box& box : boxes) {
        if (++seen[static_cast<std::size_t>(box.label)] > before) continue;
        const bool free = std::none_of(kept.begin(), kept.end(), [&](const Box& other) {
            return other.label == box.label && iou(box, other) > limit;
        });
        if (free) kept.push_back(box);
    }
    kept.resize(std::min(kept.size(), after));
    return kept;
}

void detect(const std::string& folder, const std::string& cloud) {
    std::ifstream file(folder + "/model.yaml");
    if (!file) throw std::runtime_error(folder + "/model.yaml: cannot be read");
    const Node card = Yaml(file).read();
    if (card["detector"].text != "pointpillars" || card["target"].text != "onnx" ||
        card["strides"].children.size() != 1 || card["pillars"]["features"].children.size() != 10 ||
        card["cloud"]["dtype"].text != "float32" ||
        card["cloud"]["columns"].texts() != std::vector<std::string>{"x", "y", "z", "intensity"})
        throw std::runtime_error(folder + ": this example runs PointPillars of x, y, z, intensity with one level");
    if (card["cloud"]["axes"].text != "x_forward" || card["cloud"]["own_vehicle"].text != "null")
        throw std::runtime_error(folder +
                                 ": this example neither turns clouds (cloud.axes) nor leaves points out"
                                 " (cloud.own_vehicle); use mink-pd detect");
    OrtEnv* environment = nullptr;
    check(api->CreateEnv(ORT_LOGGING_LEVEL_ERROR, "detect", &environment));
    const Graph encoder(environment, folder + "/" + card["graphs"]["pillar_encoder"]["file"].text);
    const Graph network(environment, folder + "/" + card["graphs"]["backbone_neck_head"]["file"].text);

    Rows rows = pillar_rows(read_cloud(cloud, card), card);
    if (rows.cells.empty()) return;  // nothing in range, nothing found
    const auto slots = static_cast<std::int64_t>(card["pillars"]["slots"].number());
    auto count = static_cast<std::int64_t>(rows.cells.size());
    const std::string& most = card["pillars"]["most"].text;
    if (most != "null") {
        if (count > std::stol(most))
            throw std::runtime_error(cloud + ": has " + std::to_string(count) + " pillars, the graph takes " + most);
        count = std::stol(most);
        rows.features.resize(static_cast<std::size_t>(count * slots) * 10, 0);
    }
    const Floats pillars = encoder.run("features", rows.features, {count, slots, 10}, {"pillars"})[0];

    const auto channels = static_cast<std::size_t>(card["channels"].number());
    const auto columns = static_cast<std::int64_t>(card["grid"].children[0].second.number());
    const auto lines = static_cast<std::int64_t>(card["grid"].children[1].second.number());
    const auto cells = static_cast<std::size_t>(columns * lines);
    Floats canvas(channels * cells, 0);
    for (std::size_t row = 0; row < rows.cells.size(); ++row)  // of several rows of a pillar the largest
        for (std::size_t channel = 0; channel < channels; ++channel) {
            float& value = canvas[channel * cells + static_cast<std::size_t>(rows.cells[row])];
            value = std::max(value, pillars[row * channels + channel]);
        }
    const auto maps = network.run("canvas", canvas, {1, static_cast<std::int64_t>(channels), lines, columns},
                                  {"scores", "boxes", "directions"});
    const auto names = card["classes"].texts();
    for (const Box& box : suppress(decode(maps, card), card)) {
        std::cout << names[static_cast<std::size_t>(box.label)] << ' ' << box.score;
        for (const float value : box.values) std::cout << ' ' << value;
        std::cout << '\n';
    }
    std::cout.flush();
    api->ReleaseEnv(environment);
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 3) {
        std::cerr << "usage: detect EXPORT_DIR CLOUD.bin\n";
        return 2;
    }
    try {
        detect(argv[1], argv[2]);
    } catch (const std::exception& error) {
        std::cerr << "error: " << error.what() << '\n';
        return 2;
    }
}
