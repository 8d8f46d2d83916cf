#include "classifier.h"

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <type_traits>

#include "app_config.h"
#include "tensorflow/lite/micro/micro_interpreter.h"
#include "tensorflow/lite/schema/schema_generated.h"

namespace app {
namespace {

alignas(model::kArenaAlignment) unsigned char arena[model::kArenaBytes];
model::OpResolver resolver;
tflite::MicroInterpreter* interpreter = nullptr;

// Types of the first input and output, as the golden vectors have them.
template <typename Value, std::size_t kRows, std::size_t kColumns>
Value ElementOf(const Value (&)[kRows][kColumns]);
using Input = decltype(ElementOf(model::kGoldenInput0));
using Output = decltype(ElementOf(model::kGoldenOutput0));
static_assert(std::is_same<Input, std::int8_t>::value && std::is_same<Output, std::int8_t>::value,
              "this app is for models whose first input and output are int8");

Output OutputAt(std::size_t place) { return interpreter->output(0)->data.int8[place]; }

template <typename At>
std::size_t Largest(At at) {
  std::size_t best = 0;
  for (std::size_t place = 1; place < model::kOutput0Size; ++place) {
    if (at(place) > at(best)) best = place;
  }
  return best;
}

}  // namespace

Problem SetUp() {
  const tflite::Model* loaded = tflite::GetModel(model::kModel);
  if (loaded->version() != 3) return Problem::kSchema;  // of the TFLite file format
  if (model::RegisterOps(resolver) != kTfLiteOk) return Problem::kOperators;
  static tflite::MicroInterpreter made(loaded, resolver, arena, sizeof(arena));
  interpreter = &made;
  if (interpreter->AllocateTensors() != kTfLiteOk) return Problem::kArena;
  if (interpreter->input(0)->bytes != model::kInput0Size || interpreter->output(0)->bytes != model::kOutput0Size) {
    return Problem::kTensors;
  }
  return Problem::kOk;
}

SelfTestResult SelfTest() {
  SelfTestResult result = {Problem::kOk, 0, 0, 0, 0};
  for (std::size_t sample = 0; sample < model::kGoldenCount; ++sample) {
    std::memcpy(interpreter->input(0)->data.int8, model::kGoldenInput0[sample], model::kInput0Size);
    if (interpreter->Invoke() != kTfLiteOk) {
      result.problem = Problem::kInvoke;
      return result;
    }
    const Output* wanted = model::kGoldenOutput0[sample];
    for (std::size_t place = 0; place < model::kOutput0Size; ++place) {
      const long step = std::labs(static_cast<long>(OutputAt(place)) - static_cast<long>(wanted[place]));
      result.unlike_values += step != 0;
      if (step > result.largest_step) result.largest_step = step;
    }
    result.unlike_classes += Largest(OutputAt) != Largest([wanted](std::size_t place) { return wanted[place]; });
    ++result.samples;
  }
  return result;
}

Problem Classify(const float* values, std::size_t* best, float* score) {
  constexpr float kLeast = std::numeric_limits<Input>::min(), kMost = std::numeric_limits<Input>::max();
  for (std::size_t place = 0; place < model::kInput0Size; ++place) {
    // To the nearest, ties to even: how the bundle's own inputs were made.
    const float step = std::nearbyint(values[place] / model::kInput0Scale) + model::kInput0ZeroPoint;
    const float inside = step < kLeast ? kLeast : step > kMost ? kMost : step;
    interpreter->input(0)->data.int8[place] = static_cast<Input>(inside);
  }
  if (interpreter->Invoke() != kTfLiteOk) return Problem::kInvoke;
  *best = Largest(OutputAt);
  *score = model::kOutput0Scale * static_cast<float>(OutputAt(*best) - model::kOutput0ZeroPoint);
  return Problem::kOk;
}

std::size_t ArenaUsed() { return interpreter->arena_used_bytes(); }

}  // namespace app
