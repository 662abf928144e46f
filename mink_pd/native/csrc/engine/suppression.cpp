// By Green's theorem the area that rectangles a and b share is the integral of y dx once around a, with y held between
// the long sides of b and x between its short ones, in the frame of b. Each edge of a gives its part in closed form,
// and no part jumps where edges cross, coincide or turn parallel. The same arithmetic as mink_pd/boxes/iou.py.
#include "suppression.h"

#include <algorithm>
#include <cmath>

namespace mink_pd::engine {
namespace {

constexpr double TINY = 1e-200;  // what is shorter has no direction: its reciprocal might overflow

double reciprocal(double value) { return std::abs(value) > TINY ? 1 / value : 0.0; }

struct Point {
    double x, y;
};

struct Window {
    double left, right, low, high;
};

// Of the edge from a to b, per_x = 1 / (b.x - a.x): how far it runs towards -x between left and right, and the mean
// there of its y, held between low and high.
Point under_edge(Point a, Point b, double per_x, const Window& in) {
    const double begin = std::min(std::max(a.x, in.left), in.right), end = std::min(std::max(b.x, in.left), in.right);
    const double rise = (b.y - a.y) * per_x;
    const double y_begin = a.y + (begin - a.x) * rise, y_end = b.y + (end - b.x) * rise;
    const double held_begin = std::min(std::max(y_begin, in.low), in.high);
    const double held_end = std::min(std::max(y_end, in.low), in.high);
    const double free = (held_end - held_begin) * reciprocal(y_end - y_begin);  // share between low and high
    const double beyond = (y_begin - held_begin) + (y_end - held_end);
    return {begin - end, (held_begin + held_end + free * beyond) / 2};
}

}  // namespace

Rectangle::Rectangle(double x, double y, double length, double width, double yaw)
    : x(x),
      y(y),
      length(std::max(length, 0.0)),
      width(std::max(width, 0.0)),
      cos(std::cos(yaw)),
      sin(std::sin(yaw)),
      radius(std::hypot(this->length, this->width) / 2),
      area(this->length * this->width) {}

double shared_area(const Rectangle& a, const Rectangle& b) {
    const double cos = a.cos * b.cos + a.sin * b.sin, sin = a.sin * b.cos - a.cos * b.sin;  // a's yaw seen from b
    const double along_x = a.length / 2 * cos, along_y = a.length / 2 * sin;
    const double across_x = -a.width / 2 * sin, across_y = a.width / 2 * cos;
    const Point p{along_x + across_x, along_y + across_y}, q{across_x - along_x, across_y - along_y};
    const Point r{-p.x, -p.y}, s{-q.x, -q.y};

    // The sides of b, its axes as they are but around the centre of a: small numbers round less.
    const double dx = b.x - a.x, dy = b.y - a.y;
    const double x = dx * b.cos + dy * b.sin, y = dy * b.cos - dx * b.sin;
    const double reach = std::max(std::abs(p.y), std::abs(q.y));
    const Window window{x - b.length / 2, x + b.length / 2, std::max(y - b.width / 2, -reach),
                        std::min(y + b.width / 2, reach)};

    const double pq = reciprocal(q.x - p.x), qp = reciprocal(-p.x - q.x);
    const Point edges[4] = {under_edge(p, q, pq, window), under_edge(q, r, qp, window), under_edge(r, s, -pq, window),
                            under_edge(s, p, -qp, window)};
    // The widths sum to 0, so heights may count from either side; where a lies beyond one, that one gives exactly 0.
    double from_low = 0, from_high = 0;
    for (const Point& edge : edges) {
        from_low += edge.x * (edge.y - window.low);
        from_high += edge.x * (edge.y - window.high);
    }
    // Rounding must give neither a negative area nor more than either rectangle has.
    return std::max(0.0, std::min(std::min(from_low, from_high), std::min(a.area, b.area)));
}

bool Suppression::keep(const Rectangle& box, double iou) {
    for (const Rectangle& kept : kept_) {
        const double dx = box.x - kept.x, dy = box.y - kept.y, reach = box.radius + kept.radius;
        if (dx * dx + dy * dy >= reach * reach) continue;
        const double shared = shared_area(kept, box);
        if (!(shared <= iou * (kept.area + box.area - shared))) return false;
    }
    kept_.push_back(box);
    return true;
}

bool CircleSuppression::keep(double x, double y, double radius) {
    for (const Centre& kept : kept_) {
        const double dx = x - kept.x, dy = y - kept.y;
        if (dx * dx + dy * dy <= radius * radius) return false;
    }
    kept_.push_back({x, y});
    return true;
}

}  // namespace mink_pd::engine
