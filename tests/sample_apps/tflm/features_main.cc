// Features of recordings: a file of 16-bit samples in, a file of floats out, pairs of names as arguments.
#include <cstdio>

#include "log_mel.h"

static std::int16_t samples[app::kSamples];
static float features[app::kFeatures];

int main(int count, char** names) {
  for (int place = 1; place + 1 < count; place += 2) {
    std::FILE* file = std::fopen(names[place], "rb");
    if (file == nullptr) return 1;
    const std::size_t got = std::fread(samples, sizeof(samples[0]), app::kSamples, file);
    std::fclose(file);
    app::LogMel(samples, got, features);
    file = std::fopen(names[place + 1], "wb");
    if (file == nullptr) return 1;
    std::fwrite(features, sizeof(features[0]), app::kFeatures, file);
    std::fclose(file);
  }
  return 0;
}
