// Log-mel features as the bundle's preprocessing defines them, in single precision and fixed memory.
#ifndef LOG_MEL_H_
#define LOG_MEL_H_

#include "app_config.h"

#if APP_TAKES_SOUND
namespace app {

constexpr std::size_t kFeatures = kFrames * kMels;

// Features of the first `count` samples, at most kSamples; silence follows them. `features` has kFeatures values in the
// model's own order. Not reentrant: it works in 8 * kFftSize bytes of its own.
void LogMel(const std::int16_t* samples, std::size_t count, float* features);

}  // namespace app
#endif

#endif  // LOG_MEL_H_
