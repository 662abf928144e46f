// In place of ONNX Runtime's header, which no wheel ships: what examples/onnxruntime_cpp uses of version 1 of the C
// interface. ONNX Runtime never changes a version of its table of functions once it is released, and every library
// answers GetApi(1); the table of version 1 has 102 functions.
#pragma once

#include <cstddef>
#include <cstdint>

#define ORT_API_VERSION 1

struct OrtEnv;
struct OrtMemoryInfo;
struct OrtRunOptions;
struct OrtSession;
struct OrtSessionOptions;
struct OrtStatus;
struct OrtTensorTypeAndShapeInfo;
struct OrtValue;

enum OrtLoggingLevel { ORT_LOGGING_LEVEL_ERROR = 3 };
enum OrtAllocatorType { OrtArenaAllocator = 1 };
enum OrtMemType { OrtMemTypeDefault = 0 };
enum ONNXTensorElementDataType { ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT = 1 };

using Unused = void (*)();

struct OrtApi {
    Unused from_0[2];
    const char* (*GetErrorMessage)(const OrtStatus*);
    OrtStatus* (*CreateEnv)(OrtLoggingLevel, const char* name, OrtEnv**);
    Unused from_4[3];
    OrtStatus* (*CreateSession)(const OrtEnv*, const char* path, const OrtSessionOptions*, OrtSession**);
    Unused from_8[1];
    OrtStatus* (*Run)(OrtSession*, const OrtRunOptions*, const char* const* inputs, const OrtValue* const*,
                      std::size_t input_count, const char* const* outputs, std::size_t output_count, OrtValue**);
    OrtStatus* (*CreateSessionOptions)(OrtSessionOptions**);
    Unused from_11[38];
    OrtStatus* (*CreateTensorWithDataAsOrtValue)(const OrtMemoryInfo*, void* data, std::size_t bytes,
                                                 const std::int64_t* shape, std::size_t dimensions,
                                                 ONNXTensorElementDataType, OrtValue**);
    Unused from_50[1];
    OrtStatus* (*GetTensorMutableData)(OrtValue*, void**);
    Unused from_52[12];
    OrtStatus* (*GetTensorShapeElementCount)(const OrtTensorTypeAndShapeInfo*, std::size_t*);
    OrtStatus* (*GetTensorTypeAndShape)(const OrtValue*, OrtTensorTypeAndShapeInfo**);
    Unused from_66[3];
    OrtStatus* (*CreateCpuMemoryInfo)(OrtAllocatorType, OrtMemType, OrtMemoryInfo**);
    Unused from_70[22];
    void (*ReleaseEnv)(OrtEnv*);
    void (*ReleaseStatus)(OrtStatus*);
    void (*ReleaseMemoryInfo)(OrtMemoryInfo*);
    void (*ReleaseSession)(OrtSession*);
    void (*ReleaseValue)(OrtValue*);
    Unused from_97[2];
    void (*ReleaseTensorTypeAndShapeInfo)(OrtTensorTypeAndShapeInfo*);
    void (*ReleaseSessionOptions)(OrtSessionOptions*);
    Unused from_101[1];
};
static_assert(sizeof(OrtApi) == 102 * sizeof(Unused));

struct OrtApiBase {
    const OrtApi* (*GetApi)(std::uint32_t version);
    const char* (*GetVersionString)();
};

extern "C" const OrtApiBase* OrtGetApiBase();
