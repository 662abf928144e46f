// A ROS 2 node: sensor_msgs/PointCloud2 in, vision_msgs/Detection3DArray out. Not compiled or run yet: see README.md.
#include <algorithm>
#include <cmath>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include <rclcpp/rclcpp.hpp>
#include <sensor_msgs/msg/point_cloud2.hpp>
#include <sensor_msgs/point_cloud2_iterator.hpp>
#include <vision_msgs/msg/detection3_d_array.hpp>

#include "minkpd.h"

class MinkpdNode : public rclcpp::Node {
 public:
    MinkpdNode() : Node("minkpd_node") {
        const std::string file = declare_parameter<std::string>("file", "");
        const int threads = int(declare_parameter<int64_t>("threads", 0));
        minkpd_detector* detector = nullptr;
        if (minkpd_load(file.c_str(), threads, &detector) != MINKPD_OK) throw std::runtime_error(minkpd_error());
        detector_.reset(detector, minkpd_free);
        scale_ = float(declare_parameter<double>("intensity_scale", double(minkpd_intensity_scale(detector))));
        boxes_.resize(size_t(minkpd_most_boxes(detector)));
        publisher_ = create_publisher<vision_msgs::msg::Detection3DArray>("detections", 10);
        subscription_ = create_subscription<sensor_msgs::msg::PointCloud2>(
            "points", rclcpp::SensorDataQoS(),
            [this](sensor_msgs::msg::PointCloud2::ConstSharedPtr cloud) { detect(*cloud); });
    }

 private:
    void detect(const sensor_msgs::msg::PointCloud2& cloud) {
        const int64_t count = int64_t(cloud.width) * cloud.height, columns = minkpd_columns(detector_.get());
        points_.assign(size_t(count * columns), 0.0f);
        for (int64_t column = 0; column < std::min<int64_t>(columns, 4); ++column) copy_field(cloud, column, columns);
        int64_t found = 0;
        if (minkpd_detect(detector_.get(), points_.data(), count, columns, boxes_.data(), int64_t(boxes_.size()),
                          &found) != MINKPD_OK) {
            RCLCPP_ERROR(get_logger(), "%s", minkpd_error());
            return;
        }
        vision_msgs::msg::Detection3DArray result;
        result.header = cloud.header;
        for (int64_t i = 0; i < found; ++i) result.detections.push_back(message_of(boxes_[size_t(i)], cloud.header));
        publisher_->publish(result);
    }

    // A field of all points, by the name of the detector's column; what the cloud lacks stays 0.
    void copy_field(const sensor_msgs::msg::PointCloud2& cloud, int64_t column, int64_t columns) {
        const std::string name = minkpd_column(detector_.get(), int32_t(column));
        if (name == "intensity" && minkpd_intensity_scale(detector_.get()) == 0) return;  // trained without
        for (const auto& field : cloud.fields)
            if (field.name == name && field.datatype == sensor_msgs::msg::PointField::FLOAT32) {
                const float scale = name == "intensity" ? scale_ : 1.0f;
                sensor_msgs::PointCloud2ConstIterator<float> value(cloud, name);
                for (size_t at = size_t(column); value != value.end(); ++value, at += size_t(columns))
                    points_[at] = *value / scale;
            }
    }

    vision_msgs::msg::Detection3D message_of(const minkpd_box& box, const std_msgs::msg::Header& header) const {
        vision_msgs::msg::Detection3D detection;
        detection.header = header;
        detection.bbox.center.position.x = box.x;
        detection.bbox.center.position.y = box.y;
        detection.bbox.center.position.z = box.z;
        detection.bbox.center.orientation.z = std::sin(box.yaw / 2);
        detection.bbox.center.orientation.w = std::cos(box.yaw / 2);
        detection.bbox.size.x = box.length;
        detection.bbox.size.y = box.width;
        detection.bbox.size.z = box.height;
        detection.results.resize(1);
        detection.results[0].hypothesis.class_id = minkpd_class_name(detector_.get(), box.label);
        detection.results[0].hypothesis.score = box.score;
        detection.results[0].pose.pose = detection.bbox.center;
        return detection;
    }

    std::shared_ptr<minkpd_detector> detector_;
    std::vector<minkpd_box> boxes_;
    std::vector<float> points_;
    float scale_ = 1;
    rclcpp::Publisher<vision_msgs::msg::Detection3DArray>::SharedPtr publisher_;
    rclcpp::Subscription<sensor_msgs::msg::PointCloud2>::SharedPtr subscription_;
};

int main(int count, char** arguments) {
    rclcpp::init(count, arguments);
    try {
        rclcpp::spin(std::make_shared<MinkpdNode>());
    } catch (const std::exception& error) {
        RCLCPP_FATAL(rclcpp::get_logger("minkpd_node"), "%s", error.what());
        return 1;
    }
    rclcpp::shutdown();
    return 0;
}
