// minkpd-detect: detects in files of points, one line of JSON for each.
#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "../minkpd.h"

namespace {

constexpr const char* USAGE =
    "usage: minkpd-detect [--columns N] [--score S] [--threads N] [--repeat N] STUDENT.mpd CLOUD.bin ...\n"
    "Detects in clouds of float32 numbers and prints a line of JSON for each.\n"
    "  --columns N  numbers per point, the detector's first; default 4: x, y, z, intensity, as in KITTI\n"
    "  --score S    lowest score of a box; default: that of the export\n"
    "  --threads N  default: all cores\n"
    "  --repeat N   detect N times in each cloud, and print the best and the median time to standard error\n";

struct Options {
    long columns = 4, threads = 0, repeat = 1;
    double score = -1;
    std::vector<const char*> paths;
};

bool fail(const std::string& message) {
    std::fprintf(stderr, "error: %s\n", message.c_str());
    return false;
}

bool read_number(const char* text, double least, double most, double& number) {
    char* end = nullptr;
    number = std::strtod(text, &end);
    return end != text && *end == '\0' && number >= least && number <= most;
}

bool read_options(int count, char** arguments, Options& options) {
    for (int i = 1; i < count; ++i) {
        const std::string name = arguments[i];
        if (name.rfind("--", 0) != 0) {
            options.paths.push_back(arguments[i]);
            continue;
        }
        const bool is_score = name == "--score";
        if (!is_score && name != "--columns" && name != "--threads" && name != "--repeat")
            return fail(name + ": no such option");
        double number = 0;
        if (i + 1 == count ||
            !read_number(arguments[++i], is_score || name == "--threads" ? 0 : 1, is_score ? 1 : 1000, number) ||
            (!is_score && number != std::floor(number)))
            return fail(name + ": takes a number" + (is_score ? " from 0 to 1" : " up to 1000"));
        if (is_score) options.score = number;
        if (name == "--columns") options.columns = long(number);
        if (name == "--threads") options.threads = long(number);
        if (name == "--repeat") options.repeat = long(number);
    }
    return options.paths.size() >= 2 || fail("a detector's file and one or more clouds are wanted");
}

bool read_cloud(const char* path, long columns, std::vector<float>& points) {
    std::FILE* file = std::fopen(path, "rb");
    if (file == nullptr) return fail(std::string(path) + ": cannot be opened: " + std::strerror(errno));
    points.clear();
    float block[4096];
    size_t bytes = 0;
    for (size_t got; (got = std::fread(block, 1, sizeof block, file)) > 0; bytes += got) {
        points.resize((bytes + got + 3) / 4);
        std::memcpy(reinterpret_cast<char*>(points.data()) + bytes, block, got);
    }
    const bool broken = std::ferror(file) != 0;
    std::fclose(file);
    if (broken) return fail(std::string(path) + ": cannot be read");
    if (bytes % (4 * size_t(columns)) != 0)
        return fail(std::string(path) + ": is not made of " + std::to_string(columns) +
                    " float32 a point; see --columns");
    return true;
}

// A text as JSON has it.
std::string quoted(const char* text) {
    std::string result = "\"";
    for (; *text != '\0'; ++text) {
        char code[8];
        std::snprintf(code, sizeof code, "\\u%04x", unsigned(static_cast<unsigned char>(*text)));
        if (*text == '"' || *text == '\\') result += '\\';
        result += static_cast<unsigned char>(*text) < 0x20 ? std::string(code) : std::string(1, *text);
    }
    return result + "\"";
}

void print_boxes(const minkpd_detector* detector, const char* path, const std::vector<minkpd_box>& boxes,
                 int64_t found) {
    std::printf("{\"cloud\": %s, \"boxes\": [", quoted(path).c_str());
    for (int64_t i = 0; i < found; ++i) {
        const minkpd_box& box = boxes[size_t(i)];
        std::printf("%s{\"class\": %s, \"score\": %.6g, \"box\": [%.7g, %.7g, %.7g, %.7g, %.7g, %.7g, %.7g]",
                    i > 0 ? ", " : "", quoted(minkpd_class_name(detector, box.label)).c_str(), box.score, box.x, box.y,
                    box.z, box.length, box.width, box.height, box.yaw);
        if (!std::isnan(box.velocity_x)) std::printf(", \"velocity\": [%.7g, %.7g]", box.velocity_x, box.velocity_y);
        std::printf("}");
    }
    std::printf("]}\n");
}

bool detect(minkpd_detector* detector, const Options& options) {
    std::vector<float> points;
    std::vector<minkpd_box> boxes(size_t(minkpd_most_boxes(detector)));
    std::vector<double> times;
    for (size_t i = 1; i < options.paths.size(); ++i) {
        if (!read_cloud(options.paths[i], options.columns, points)) return false;
        const int64_t count = int64_t(points.size()) / options.columns;
        int64_t found = 0;
        times.clear();
        for (long run = 0; run < options.repeat; ++run) {
            const auto start = std::chrono::steady_clock::now();
            if (minkpd_detect(detector, points.data(), count, options.columns, boxes.data(), int64_t(boxes.size()),
                              &found) != MINKPD_OK)
                return fail(std::string(options.paths[i]) + ": " + minkpd_error());
            times.push_back(
                std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count());
        }
        print_boxes(detector, options.paths[i], boxes, found);
        if (options.repeat == 1) continue;
        std::sort(times.begin(), times.end());
        std::fprintf(stderr, "%s: best %.2f ms, median %.2f ms\n", options.paths[i], times.front(),
                     times[times.size() / 2]);
    }
    return true;
}

}  // namespace

int main(int count, char** arguments) {
    if (count == 2 && (std::string("--help") == arguments[1] || std::string("-h") == arguments[1]))
        return std::fputs(USAGE, stdout), 0;
    Options options;
    if (!read_options(count, arguments, options)) {
        std::fputs(USAGE, stderr);
        return 2;
    }
    minkpd_detector* detector = nullptr;
    bool done = minkpd_load(options.paths[0], int32_t(options.threads), &detector) == MINKPD_OK || fail(minkpd_error());
    if (done && options.score >= 0)
        done = minkpd_set_score(detector, float(options.score)) == MINKPD_OK || fail(minkpd_error());
    if (done && options.columns < minkpd_columns(detector))
        done = fail("--columns: the detector sees " + std::to_string(minkpd_columns(detector)) + " numbers of a point");
    done = done && detect(detector, options);
    minkpd_free(detector);
    return done ? 0 : 2;
}
