#include "log_mel.h"

#if APP_TAKES_SOUND

#include <cmath>

namespace app {
namespace {

float real_part[kFftSize];
float imaginary_part[kFftSize];

// The sample at `place` of the frames' common time; mirrored at both ends where frames are centred.
float SampleAt(const std::int16_t* samples, std::size_t count, std::size_t place) {
  if (kCenter) {
    const std::size_t half = kFftSize / 2;
    place = place < half ? half - place : place - half;
    if (place >= kSamples) place = 2 * (kSamples - 1) - place;
  }
  return place < count ? static_cast<float>(samples[place]) / 32768.0f : 0.0f;
}

// In place, decimation in time; kFftSize is a power of two.
void FourierTransform() {
  for (std::size_t from = 1, to = 0; from < kFftSize; ++from) {
    std::size_t bit = kFftSize / 2;
    for (; to & bit; bit /= 2) to ^= bit;
    to ^= bit;
    if (from < to) {
      const float kept = real_part[from];
      real_part[from] = real_part[to];
      real_part[to] = kept;
    }
  }
  for (std::size_t half = 1; half < kFftSize; half *= 2) {
    const std::size_t step = kFftSize / (2 * half);
    for (std::size_t start = 0; start < kFftSize; start += 2 * half) {
      for (std::size_t place = 0; place < half; ++place) {
        const std::size_t even = start + place, odd = even + half;
        const float cosine = kCosine[place * step], sine = kSine[place * step];
        const float real = real_part[odd] * cosine + imaginary_part[odd] * sine;
        const float imaginary = imaginary_part[odd] * cosine - real_part[odd] * sine;
        real_part[odd] = real_part[even] - real;
        imaginary_part[odd] = imaginary_part[even] - imaginary;
        real_part[even] += real;
        imaginary_part[even] += imaginary;
      }
    }
  }
}

float Powered(std::size_t frequency) {
  const float energy =
      real_part[frequency] * real_part[frequency] + imaginary_part[frequency] * imaginary_part[frequency];
  return kPower == 2.0f ? energy : std::pow(energy, kPower / 2);
}

float Scaled(float energy) {
  const float raised = energy > kFloor ? energy : kFloor;
  return ((kNaturalLog ? std::log(raised) : std::log10(raised)) - kMean) / kStd;
}

}  // namespace

void LogMel(const std::int16_t* samples, std::size_t count, float* features) {
  for (std::size_t frame = 0; frame < kFrames; ++frame) {
    for (std::size_t place = 0; place < kFftSize; ++place) {
      real_part[place] = kWindow[place] * SampleAt(samples, count, frame * kHop + place);
      imaginary_part[place] = 0.0f;
    }
    FourierTransform();
    for (std::size_t frequency = 0; frequency <= kFftSize / 2; ++frequency) {
      real_part[frequency] = Powered(frequency);  // its own two parts are read before it is overwritten
    }
    for (std::size_t mel = 0; mel < kMels; ++mel) {
      const Filter& filter = kFilters[mel];
      float energy = 0.0f;
      for (std::size_t place = 0; place < filter.count; ++place) {
        energy += kWeights[filter.place + place] * real_part[filter.first + place];
      }
      features[kFramesFirst ? frame * kMels + mel : mel * kFrames + frame] = Scaled(energy);
    }
  }
}

}  // namespace app

#endif  // APP_TAKES_SOUND
