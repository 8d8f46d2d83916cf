// The self-test, then for ever: sound, features, a class.
#include <cstdio>
#include <cstring>

#include "app_config.h"
#include "board.h"
#include "classifier.h"
#include "log_mel.h"

namespace {

// Of 255, where a model gives numbers and no classes; every layer may add one.
constexpr long kMostSteps = 8;

void Say(const char* what, unsigned long value, const char* after) {
  char text[80];
  std::snprintf(text, sizeof(text), "%s%lu%s", what, value, after);
  board::Print(text);
}

bool SetUpAndTest() {
  const app::Problem problem = app::SetUp();
  if (problem != app::Problem::kOk) {
    Say("FAIL: the model cannot be set up, problem ", static_cast<unsigned long>(problem), "\n");
    return false;
  }
  Say("arena: ", app::ArenaUsed(), " bytes");
  Say(" of ", model::kArenaBytes, "\n");
  const app::SelfTestResult result = app::SelfTest();
  // Kernels written for one processor may move a value by a step; a class may not change, or a number go far.
  const bool near = app::kClasses ? result.unlike_classes == 0 : result.largest_step <= kMostSteps;
  const bool passed = result.problem == app::Problem::kOk && near;
  Say(passed ? "PASS: " : "FAIL: ", result.samples, " golden samples, ");
  if (app::kClasses) Say("", result.unlike_classes, " classes and ");
  Say("", result.unlike_values, " values unlike the reference kernels, ");
  Say("by at most ", static_cast<unsigned long>(result.largest_step), "\n");
  return passed;
}

#if APP_TAKES_SOUND

std::int16_t samples[app::kSamples];
float features[app::kFeatures];

static_assert(app::kFeatures == model::kInput0Size, "the features are not what the model takes");

void ClassifySound(std::size_t count) {
  app::LogMel(samples, count, features);
  std::size_t best = 0;
  float score = 0;
  if (app::Classify(features, &best, &score) != app::Problem::kOk) {
    board::Print("an inference failed\n");
    return;
  }
  const bool named = best < app::kLabelCount;
  Say("class ", best, " ");
  board::Print(named ? app::kLabels[best] : "");
  board::Print("\n");
}

// A window of sound slides on by half of its length.
void Listen() {
  if (!app::kClasses) {
    board::Print("the model gives no classes: its outputs are for your own code\n");
    return;
  }
  constexpr std::size_t kStep = app::kSamples / 2;
  std::size_t have = 0;
  while (true) {
    const std::size_t got = board::Read(samples + have, app::kSamples - have);
    have += got;
    if (got != 0 && have < app::kSamples) continue;
    if (have == 0) return;
    ClassifySound(have);
    if (got == 0) return;
    std::memmove(samples, samples + kStep, (have - kStep) * sizeof(samples[0]));
    have -= kStep;
  }
}

#else

void Listen() { board::Print("the model takes no sound: its inputs are for your own code\n"); }

#endif

}  // namespace

int main() {
  board::Start();
  if (!SetUpAndTest()) return 1;
  Listen();
  return 0;
}
