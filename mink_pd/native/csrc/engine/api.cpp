// The C interface over Detector.
#include <sched.h>

#include <algorithm>
#include <cstdio>
#include <exception>
#include <new>
#include <string>

#include "core/error.h"
#include "detector.h"
#include "minkpd.h"

struct minkpd_detector {
    mink_pd::engine::Detector engine;
};

namespace {

using mink_pd::engine::ModelFile;

thread_local char last_error[1024] = "";

minkpd_status fail(minkpd_status status, const char* message) {
    std::snprintf(last_error, sizeof last_error, "%s", message);
    return status;
}

// Calls use(), and turns what it throws into a status.
template <typename Use>
minkpd_status guarded(minkpd_status otherwise, const std::string& prefix, Use&& use) {
    try {
        use();
        return MINKPD_OK;
    } catch (const mink_pd::engine::NotFinite& error) {
        return fail(MINKPD_NOT_FINITE, error.what());
    } catch (const mink_pd::Error& error) {
        return fail(otherwise, (prefix + error.what()).c_str());
    } catch (const std::bad_alloc&) {
        return fail(MINKPD_MEMORY, "not enough memory");
    } catch (const std::exception& error) {
        return fail(MINKPD_INTERNAL, error.what());
    }
}

int64_t usable_cores() {
    cpu_set_t set;
    CPU_ZERO(&set);
    return sched_getaffinity(0, sizeof set, &set) == 0 ? std::max(1, CPU_COUNT(&set)) : 1;
}

template <typename Read>
minkpd_status load(const std::string& name, int32_t threads, minkpd_detector** detector, Read&& read) {
    if (detector == nullptr) return fail(MINKPD_ARGUMENT, "detector must not be NULL");
    *detector = nullptr;
    if (threads < 0 || threads > 1024) return fail(MINKPD_ARGUMENT, "threads must be 0 to 1024");
    const int64_t wanted = threads == 0 ? usable_cores() : threads;
    return guarded(MINKPD_FILE, name + ": ", [&] {
        const ModelFile file = read();
        *detector = new minkpd_detector{mink_pd::engine::Detector(file, wanted)};
    });
}

const char* name_of(const std::vector<std::string>& names, int32_t number) {
    return number >= 0 && size_t(number) < names.size() ? names[number].c_str() : nullptr;
}

}  // namespace

extern "C" {

minkpd_status minkpd_load(const char* path, int32_t threads, minkpd_detector** detector) {
    if (path == nullptr) return fail(MINKPD_ARGUMENT, "path must not be NULL");
    return load(path, threads, detector, [&] { return ModelFile(path); });
}

minkpd_status minkpd_load_bytes(const void* content, int64_t size, int32_t threads, minkpd_detector** detector) {
    if (content == nullptr || size < 0) return fail(MINKPD_ARGUMENT, "content is NULL, or size negative");
    return load("content", threads, detector, [&] { return ModelFile(content, size_t(size)); });
}

void minkpd_free(minkpd_detector* detector) { delete detector; }

minkpd_status minkpd_detect(minkpd_detector* detector, const float* points, int64_t count, int64_t stride,
                            minkpd_box* boxes, int64_t capacity, int64_t* found) {
    if (detector == nullptr || found == nullptr) return fail(MINKPD_ARGUMENT, "detector and found must not be NULL");
    *found = 0;
    if (count < 0 || count > INT32_MAX) return fail(MINKPD_ARGUMENT, "count must be 0 to 2^31 - 1");
    if (stride < minkpd_columns(detector)) return fail(MINKPD_ARGUMENT, "stride is shorter than a point");
    if ((points == nullptr && count > 0) || (boxes == nullptr && capacity > 0) || capacity < 0)
        return fail(MINKPD_ARGUMENT, "points or boxes are NULL, or capacity is negative");
    return guarded(MINKPD_INTERNAL, "",
                   [&] { *found = detector->engine.detect({points, count, stride}, boxes, capacity); });
}

int64_t minkpd_most_boxes(const minkpd_detector* detector) { return detector->engine.most_boxes(); }
int32_t minkpd_columns(const minkpd_detector* detector) { return int32_t(detector->engine.columns().size()); }
const char* minkpd_column(const minkpd_detector* detector, int32_t column) {
    return name_of(detector->engine.columns(), column);
}
float minkpd_intensity_scale(const minkpd_detector* detector) { return detector->engine.full_scale(); }
int32_t minkpd_classes(const minkpd_detector* detector) { return int32_t(detector->engine.classes().size()); }
const char* minkpd_class_name(const minkpd_detector* detector, int32_t label) {
    return name_of(detector->engine.classes(), label);
}

int32_t minkpd_velocities(const minkpd_detector* detector) { return detector->engine.velocities(); }

minkpd_status minkpd_set_score(minkpd_detector* detector, float score) {
    if (detector == nullptr || !(score >= 0 && score <= 1)) return fail(MINKPD_ARGUMENT, "score must be 0 to 1");
    detector->engine.set_score(score);
    return MINKPD_OK;
}

const char* minkpd_error(void) { return last_error; }
const char* minkpd_version(void) { return MINKPD_VERSION; }
}
