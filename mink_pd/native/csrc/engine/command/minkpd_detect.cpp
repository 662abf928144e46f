// minkpd-detect: detects in files of points, one line of JSON for each.
#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "../minkpd.h"

namespace {

constexpr const char* USAGE =
    "usage: minkpd-detect [--columns NAMES] [--score S] [--threads N] [--repeat N] STUDENT.mpd CLOUD.bin ...\n"
    "Detects in clouds of float32 numbers and prints a line of JSON for each. Intensities have the full scale of the\n"
    "detector's training data.\n"
    "  --columns NAMES  of a point's numbers in their order: x, y, z, intensity, lag, and _ for any other; or how "
    "many\n"
    "                   they are, of which those after the intensity are not used; default: x,y,z,intensity, as in\n"
    "                   KITTI; nuScenes has x,y,z,intensity,_\n"
    "  --score S        lowest score of a box; default: that of the export\n"
    "  --threads N      default: all cores\n"
    "  --repeat N       detect N times in each cloud, and print the best and the median time to standard error\n";
constexpr const char* KITTI = "x,y,z,intensity";
enum { X, Y, Z, INTENSITY, LAG, COLUMNS };
const std::array<std::string, COLUMNS> NAMES = {"x", "y", "z", "intensity", "lag"};
constexpr int64_t FEWEST = 30;              // points for which shares mean something
constexpr float FAR = 200, NOWHERE = 1000;  // few points are farther than the first, hardly any than the second [m]
constexpr float TINY = 1e-12f;              // where all coordinates of a point are smaller [m], they are none
constexpr double MOST_FAR = 0.5, MOST_ODD = 0.01;  // largest shares of far points; of the other odd ones
constexpr float LONGEST_LAG = 1;                   // [s]

using Point = std::array<float, COLUMNS>;

struct Options {
    std::string columns = KITTI;
    long threads = 0, repeat = 1;
    double score = -1;
    std::vector<const char*> paths;
};

// How a file becomes the points that the detector takes.
struct Layout {
    std::string names;                // of the file's columns
    size_t width;                     // numbers of a point in the file
    std::array<int, COLUMNS> places;  // of the numbers among them; -1: not there
    float full_scale;                 // of the intensities; 0: the detector takes none
    int taken;                        // how many of COLUMNS the detector takes

    Point point(const float* numbers) const {
        Point result;
        for (int i = 0; i < COLUMNS; ++i) result[i] = places[i] < 0 ? 0 : numbers[places[i]];
        return result;
    }
};

bool fail(const std::string& message) {
    std::fprintf(stderr, "error: %s\n", message.c_str());
    return false;
}

std::string short_text(float number) {
    char text[32];
    std::snprintf(text, sizeof text, "%g", number);
    return text;
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
        if (name != "--columns" && name != "--score" && name != "--threads" && name != "--repeat")
            return fail(name + ": no such option");
        if (i + 1 == count) return fail(name + ": takes a value");
        const char* value = arguments[++i];
        double number = 0;
        if (name == "--columns") {
            options.columns = value;
        } else if (name == "--score") {
            if (!read_number(value, 0, 1, options.score)) return fail(name + ": takes a number from 0 to 1");
        } else {
            const bool threads = name == "--threads";
            if (!read_number(value, threads ? 0 : 1, 1000, number) || number != std::floor(number))
                return fail(name + ": takes a number up to 1000");
            (threads ? options.threads : options.repeat) = long(number);
        }
    }
    return options.paths.size() >= 2 || fail("a detector's file and one or more clouds are wanted");
}

// The names of so many columns, of which only the usual ones matter.
std::string names_of(long columns) {
    std::string names = "x,y,z";
    for (long i = 3; i < columns; ++i) names += i == int(INTENSITY) ? ",intensity" : ",_";
    return names;
}

// The layout of files with the named columns, or with so many.
bool lay_out(const minkpd_detector* detector, const std::string& columns, Layout& layout) {
    double number = 0;
    const bool counted = read_number(columns.c_str(), 1, 1000, number) && number == std::floor(number);
    if (counted && long(number) > int(LAG) && minkpd_columns(detector) > int(LAG))
        return fail("--columns: the detector takes a lag; name the columns, such as x,y,z,intensity,lag");
    const std::string names = counted ? names_of(long(number)) : columns;
    layout = {names, 0, {}, minkpd_intensity_scale(detector), std::min<int>(minkpd_columns(detector), COLUMNS)};
    layout.places.fill(-1);
    std::istringstream stream(names);
    for (std::string name; std::getline(stream, name, ','); ++layout.width) {
        if (name == "_") continue;
        const auto known = std::find(NAMES.begin(), NAMES.end(), name) - NAMES.begin();
        if (known == COLUMNS)
            return fail("--columns: '" + name + "' is none of x, y, z, intensity, lag; write _ for any other number");
        if (std::exchange(layout.places[known], int(layout.width)) >= 0)
            return fail("--columns: names " + name + " twice; write _ for what is not wanted");
    }
    std::string takes;
    for (int i = 0; i < layout.taken; ++i) takes += (i > 0 ? ", " : "") + NAMES[i];
    for (int i = 0; i < layout.taken; ++i)  // without a lag, the clouds are single turns
        if (layout.places[i] < 0 && i != LAG && (i != INTENSITY || layout.full_scale > 0))
            return fail("--columns: names no " + NAMES[i] + "; the detector takes " + takes);
    return true;
}

bool read_file(const char* path, const Layout& layout, std::vector<float>& numbers) {
    std::FILE* file = std::fopen(path, "rb");
    if (file == nullptr) return fail(std::string(path) + ": cannot be opened: " + std::strerror(errno));
    numbers.clear();
    float block[4096];
    size_t bytes = 0;
    for (size_t got; (got = std::fread(block, 1, sizeof block, file)) > 0; bytes += got) {
        numbers.resize((bytes + got + 3) / 4);
        std::memcpy(reinterpret_cast<char*>(numbers.data()) + bytes, block, got);
    }
    const bool broken = std::ferror(file) != 0;
    std::fclose(file);
    if (broken) return fail(std::string(path) + ": cannot be read");
    if (bytes % (4 * layout.width) != 0)
        return fail(std::string(path) + ": is not made of " + std::to_string(layout.width) + " float32 a point (" +
                    layout.names + "); name its columns with --columns");
    return true;
}

// What shows that numbers are no cloud of these columns; "" where nothing does. Points that the engine leaves out do
// not count: those that are not finite or at the origin.
std::string fault(const Layout& layout, const std::vector<float>& numbers) {
    int64_t points = 0, far = 0, nowhere = 0, tiny = 0, lit = 0, bright = 0;
    float darkest = 0, brightest = 0, latest = 0;
    for (size_t i = 0; i < numbers.size(); i += layout.width) {
        const Point point = layout.point(&numbers[i]);
        const float farthest = std::max({std::abs(point[X]), std::abs(point[Y]), std::abs(point[Z])});
        if (farthest == 0 || !std::all_of(point.begin(), point.end(), [](float x) { return std::isfinite(x); }))
            continue;
        const float intensity = point[INTENSITY];
        ++points, far += farthest > FAR, nowhere += farthest > NOWHERE, tiny += farthest < TINY;
        lit += intensity != 0, bright += layout.full_scale > 0 && intensity > layout.full_scale;
        darkest = std::min(darkest, intensity), brightest = std::max(brightest, intensity);
        latest = std::max(latest, std::abs(point[LAG]));
    }
    const auto above = [](int64_t some, double share, int64_t all) { return double(some) > share * double(all); };
    if (points >= FEWEST && (above(far, MOST_FAR, points) || above(nowhere + tiny, MOST_ODD, points)))
        return "has coordinates that are not metres from the sensor";
    if (darkest < 0) return "has intensities below 0";
    if (above(bright, MOST_ODD, lit))
        return "has intensities up to " + short_text(brightest) + ", the detector's training data up to " +
               short_text(layout.full_scale);
    return latest > LONGEST_LAG ? "has time lags up to " + short_text(latest) + " s" : "";
}

// The points in a file as the detector takes them, with intensities from 0 to 1.
bool read_cloud(const char* path, const Layout& layout, std::vector<float>& numbers, std::vector<float>& points) {
    if (!read_file(path, layout, numbers)) return false;
    const std::string wrong = fault(layout, numbers);
    if (!wrong.empty())
        return fail(std::string(path) + ": " + wrong + "; are its columns " + layout.names +
                    "? name them with --columns, or convert it");
    points.clear();
    for (size_t i = 0; i < numbers.size(); i += layout.width) {
        Point point = layout.point(&numbers[i]);
        point[INTENSITY] = layout.full_scale > 0 ? std::min(point[INTENSITY] / layout.full_scale, 1.0f) : 0;
        points.insert(points.end(), point.begin(), point.begin() + layout.taken);
    }
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
    Layout layout;
    if (!lay_out(detector, options.columns, layout)) return false;
    std::vector<float> numbers, points;
    std::vector<minkpd_box> boxes(size_t(minkpd_most_boxes(detector)));
    std::vector<double> times;
    for (size_t i = 1; i < options.paths.size(); ++i) {
        if (!read_cloud(options.paths[i], layout, numbers, points)) return false;
        const int64_t count = int64_t(points.size()) / layout.taken;
        int64_t found = 0;
        times.clear();
        for (long run = 0; run < options.repeat; ++run) {
            const auto start = std::chrono::steady_clock::now();
            if (minkpd_detect(detector, points.data(), count, layout.taken, boxes.data(), int64_t(boxes.size()),
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
    done = done && detect(detector, options);
    minkpd_free(detector);
    return done ? 0 : 2;
}
