// Non-maximum suppression by the exact overlap of rotated boxes seen from above, in float64 (mink_pd/boxes).
#pragma once

#include <cstdint>
#include <vector>

namespace mink_pd::engine {

// What the overlap of a rectangle with others needs.
struct Rectangle {
    double x, y, length, width, cos, sin, radius, area;

    Rectangle(double x, double y, double length, double width, double yaw);
};

// The area [m^2] that two rectangles share.
double shared_area(const Rectangle& a, const Rectangle& b);

// Boxes that are kept so far, the best first.
class Suppression {
 public:
    void clear() { kept_.clear(); }
    // Keeps a box unless its IoU with one that is kept is above `iou`; whether it was kept.
    bool keep(const Rectangle& box, double iou);

 private:
    std::vector<Rectangle> kept_;
};

// Centres that are kept so far: one goes where a better one lies within a radius (CenterPoint's circle NMS).
class CircleSuppression {
 public:
    void clear() { kept_.clear(); }
    bool keep(double x, double y, double radius);

 private:
    struct Centre {
        double x, y;
    };
    std::vector<Centre> kept_;
};

}  // namespace mink_pd::engine
