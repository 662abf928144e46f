// Detects in clouds with 1 to 4 threads and by several callers at once, and fails unless all find the same bits. Prints
// the boxes of the clouds, one line each: number of the cloud, label, score, x, y, z, length, width, height, yaw. A
// file that cannot be loaded is an error with status 2.
#include <atomic>
#include <cstdio>
#include <cstring>
#include <memory>
#include <thread>
#include <vector>

#include "engine/minkpd.h"

namespace {

constexpr int MOST_THREADS = 4;
constexpr size_t CALLERS = 4;

using Detector = std::unique_ptr<minkpd_detector, decltype(&minkpd_free)>;
using Boxes = std::vector<minkpd_box>;

struct Failed {};

Detector load(const char* path, int threads) {
    minkpd_detector* detector = nullptr;
    if (minkpd_load(path, threads, &detector) != MINKPD_OK) throw Failed();
    return {detector, &minkpd_free};
}

std::vector<float> read_cloud(const char* path) {
    std::vector<float> points;
    std::FILE* file = std::fopen(path, "rb");
    if (file == nullptr) throw Failed();
    float number;
    while (std::fread(&number, sizeof number, 1, file) == 1) points.push_back(number);
    std::fclose(file);
    points.shrink_to_fit();  // so that a sanitizer sees what is read behind them
    return points;
}

Boxes detect(minkpd_detector* detector, const std::vector<float>& points) {
    Boxes boxes(size_t(minkpd_most_boxes(detector)));
    const int64_t columns = minkpd_columns(detector);
    int64_t found = 0;
    if (minkpd_detect(detector, points.data(), int64_t(points.size()) / columns, columns, boxes.data(),
                      int64_t(boxes.size()), &found) != MINKPD_OK)
        throw Failed();
    boxes.resize(size_t(found));
    return boxes;
}

bool same(const Boxes& a, const Boxes& b) {
    return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof a[0]) == 0);
}

// Whether several callers of one detector find what is expected in the clouds.
bool several_callers(minkpd_detector* detector, const std::vector<std::vector<float>>& clouds,
                     const std::vector<Boxes>& expected) {
    std::atomic<bool> right{true};
    std::vector<std::thread> callers;
    for (size_t caller = 0; caller < CALLERS; ++caller)
        callers.emplace_back([&, caller] {
            for (size_t turn = 0; turn < 2 * clouds.size(); ++turn) {
                const size_t number = (caller + turn) % clouds.size();
                if (!same(detect(detector, clouds[number]), expected[number])) right = false;
            }
        });
    for (std::thread& caller : callers) caller.join();
    return right;
}

int run(int count, char** arguments) {
    std::vector<std::vector<float>> clouds;
    for (int i = 2; i < count; ++i) clouds.push_back(read_cloud(arguments[i]));
    std::vector<Boxes> expected;
    {
        const Detector detector = load(arguments[1], 1);
        for (const auto& cloud : clouds) expected.push_back(detect(detector.get(), cloud));
    }
    for (int threads = 1; threads <= MOST_THREADS; ++threads) {
        const Detector detector = load(arguments[1], threads);
        for (size_t i = 0; i < 2 * clouds.size(); ++i)
            if (!same(detect(detector.get(), clouds[i % clouds.size()]), expected[i % clouds.size()])) {
                std::fprintf(stderr, "cloud %zu: other bits with %d threads\n", i % clouds.size(), threads);
                return 1;
            }
        if (!several_callers(detector.get(), clouds, expected)) {
            std::fprintf(stderr, "other bits by several callers of %d threads\n", threads);
            return 1;
        }
    }
    for (size_t i = 0; i < clouds.size(); ++i)
        for (const minkpd_box& box : expected[i])
            std::printf("%zu %d %.9g %.9g %.9g %.9g %.9g %.9g %.9g %.9g\n", i, int(box.label), double(box.score),
                        double(box.x), double(box.y), double(box.z), double(box.length), double(box.width),
                        double(box.height), double(box.yaw));
    return 0;
}

}  // namespace

int main(int count, char** arguments) {
    if (count < 2) return std::fputs("usage: engine_tests STUDENT.mpd CLOUD.bin ...\n", stderr), 2;
    try {
        return run(count, arguments);
    } catch (const Failed&) {
        return std::fprintf(stderr, "error: %s\n", minkpd_error()), 2;
    }
}
