/* libminkpd: LiDAR 3D detectors of mink_pd on the CPU, from points to boxes. docs/engine.md shows it in use.
 *
 * A function that can fail returns a status; minkpd_error() then says in one line what was wrong. A detector may be
 * used by any number of threads at once. */
#ifndef MINKPD_H
#define MINKPD_H

#include <stdint.h>

#define MINKPD_VERSION "0.2.0"

#if defined(__GNUC__)
#define MINKPD_API __attribute__((visibility("default")))
#else
#define MINKPD_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

typedef enum {
    MINKPD_OK = 0,
    MINKPD_FILE = 1,       /* the file is missing, damaged, or made by a newer version */
    MINKPD_ARGUMENT = 2,   /* an argument is out of its range */
    MINKPD_NOT_FINITE = 3, /* the network computed NaN or infinity */
    MINKPD_MEMORY = 4,
    MINKPD_INTERNAL = 5
} minkpd_status;

typedef struct minkpd_detector minkpd_detector;

/* In the frame of the points: x forward, y left, z up [m]. */
typedef struct {
    float x, y, z;                /* of the centre */
    float length, width, height;  /* [m] */
    float yaw;                    /* [rad], counter-clockwise about z, 0 along x */
    float score;                  /* 0..1 */
    float velocity_x, velocity_y; /* [m/s] over the ground; NaN where the detector predicts none */
    int32_t label;                /* number of the class */
} minkpd_box;

/* Loads a file that "mink-pd export --to engine" wrote. threads: that work on one cloud, 0 for as many as this process
 * may use; they sleep between clouds. minkpd_free takes NULL too. */
MINKPD_API minkpd_status minkpd_load(const char* path, int32_t threads, minkpd_detector** detector);
/* The same from the content of such a file, which is copied. */
MINKPD_API minkpd_status minkpd_load_bytes(const void* content, int64_t size, int32_t threads,
                                           minkpd_detector** detector);
MINKPD_API void minkpd_free(minkpd_detector* detector);

/* Detects in `count` points. A point is the first minkpd_columns() of `stride` floats, in the order that
 * minkpd_column() names: x, y, z [m], intensity, always from 0 to 1, and time lag [s]. Values are not checked; left out
 * are points with a NaN or infinite value, at the origin, or on the own vehicle.
 * Writes at most `capacity` boxes, best first, and to `found` how many: minkpd_most_boxes() is always enough. After a
 * few clouds of the usual size no memory is allocated any more. */
MINKPD_API minkpd_status minkpd_detect(minkpd_detector* detector, const float* points, int64_t count, int64_t stride,
                                       minkpd_box* boxes, int64_t capacity, int64_t* found);

MINKPD_API int64_t minkpd_most_boxes(const minkpd_detector* detector);
/* Numbers of a point that the detector sees, and their names: x, y, z, intensity, time lag. NULL beyond the last. */
MINKPD_API int32_t minkpd_columns(const minkpd_detector* detector);
MINKPD_API const char* minkpd_column(const minkpd_detector* detector, int32_t column);
/* Full scale of the intensities in the files of the training data, by which they were divided: 1, 255, ... It is 0
 * where they were not read: the detector then takes intensities of 0. */
MINKPD_API float minkpd_intensity_scale(const minkpd_detector* detector);
/* Number of classes, and the name of a label. NULL beyond the last. */
MINKPD_API int32_t minkpd_classes(const minkpd_detector* detector);
MINKPD_API const char* minkpd_class_name(const minkpd_detector* detector, int32_t label);

/* 1 where the detector predicts velocities, else 0. */
MINKPD_API int32_t minkpd_velocities(const minkpd_detector* detector);

/* The lowest score of the boxes that are reported; at first that of the export. Not while another thread detects. */
MINKPD_API minkpd_status minkpd_set_score(minkpd_detector* detector, float score);

/* What went wrong in this thread's last call that failed; "" if none did. Valid until its next call. */
MINKPD_API const char* minkpd_error(void);
MINKPD_API const char* minkpd_version(void);

#ifdef __cplusplus
}
#endif
#endif
