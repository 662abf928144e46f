// Sums of four products of unsigned and signed bytes, by the best instructions that the build has. All give the same
// integers.
#pragma once

#include <cstdint>
#include <cstring>

#include "blocks.h"

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__ARM_FEATURE_DOTPROD)
#include <arm_neon.h>
#endif

namespace mink_pd::int8 {

constexpr int64_t DEPTH = 4;  // input channels of a step

typedef int32_t Sums __attribute__((vector_size(LANES * sizeof(int32_t))));
typedef int8_t Bytes __attribute__((vector_size(LANES * DEPTH)));  // weights of LANES outputs, DEPTH inputs each

// dot(sums, x, w): sums + x[0] w[0] + .. + x[3] w[3] for each output, with the four codes of x in each 32-bit place.
//
// HALVES: codes times weights are first added by twos in 16 bits, which saturates, so that two neighbouring weights of
// the same sign must not exceed 128 together.
// CENTRED: x holds codes minus 128, as signed bytes.
#if defined(__AVX512VNNI__)
constexpr const char* INSTRUCTIONS = "AVX-512 VNNI";
constexpr bool HALVES = false, CENTRED = false;
inline Sums dot(Sums sums, Sums x, Bytes w) { return (Sums)_mm512_dpbusd_epi32((__m512i)sums, (__m512i)x, (__m512i)w); }
#elif defined(__AVX512BW__)
constexpr const char* INSTRUCTIONS = "AVX-512";
constexpr bool HALVES = true, CENTRED = false;
inline Sums dot(Sums sums, Sums x, Bytes w) {
    const __m512i twos = _mm512_maddubs_epi16((__m512i)x, (__m512i)w);
    return sums + (Sums)_mm512_madd_epi16(twos, _mm512_set1_epi16(1));
}
#elif defined(__AVXVNNI__) && !defined(__AVX512F__)
constexpr const char* INSTRUCTIONS = "AVX-VNNI";
constexpr bool HALVES = false, CENTRED = false;
inline Sums dot(Sums sums, Sums x, Bytes w) {
    return (Sums)_mm256_dpbusd_avx_epi32((__m256i)sums, (__m256i)x, (__m256i)w);
}
#elif defined(__AVX2__) && !defined(__AVX512F__)
constexpr const char* INSTRUCTIONS = "AVX2";
constexpr bool HALVES = true, CENTRED = false;
inline Sums dot(Sums sums, Sums x, Bytes w) {
    const __m256i twos = _mm256_maddubs_epi16((__m256i)x, (__m256i)w);
    return sums + (Sums)_mm256_madd_epi16(twos, _mm256_set1_epi16(1));
}
#elif defined(__ARM_FEATURE_DOTPROD)
constexpr const char* INSTRUCTIONS = "NEON dot product";
constexpr bool HALVES = false, CENTRED = true;
inline Sums dot(Sums sums, Sums x, Bytes w) { return (Sums)vdotq_s32((int32x4_t)sums, (int8x16_t)w, (int8x16_t)x); }
#else
constexpr const char* INSTRUCTIONS = "plain";
constexpr bool HALVES = false, CENTRED = false;
inline Sums dot(Sums sums, Sums x, Bytes w) {
    Sums words;
    std::memcpy(&words, &w, sizeof words);
    UNROLL for (int i = 0; i < DEPTH; ++i)
        sums += (x >> 8 * i & 255) * (words << (24 - 8 * i) >> 24);
    return sums;
}
#endif

// Rows of a block of V vectors: sums, weights and what dot() needs fit into the registers.
constexpr int rows_of(int vectors) {
    if (LANES == 8) return vectors == 1 ? 8 : 5;
    return ROWS[vectors];
}

// The four codes at `from` in each place, as dot() wants them.
inline Sums spread_codes(const uint8_t* from) {
    int32_t four;
    std::memcpy(&four, from, sizeof four);
    if (CENTRED) four ^= int32_t(0x80808080);
    return Sums{} + four;
}

}  // namespace mink_pd::int8
