// The bundle's model on TensorFlow Lite Micro: setting up, the self-test over its golden vectors, and one inference.
#ifndef CLASSIFIER_H_
#define CLASSIFIER_H_

#include <cstddef>

namespace app {

// Why something failed; kOk is 0.
enum class Problem { kOk, kSchema, kOperators, kArena, kTensors, kInvoke };

// Sets up the interpreter in the arena that the bundle reserves.
Problem SetUp();

// What a self-test found: predictions and values unlike TensorFlow Lite Micro's reference kernels.
struct SelfTestResult {
  Problem problem;
  std::size_t samples;
  std::size_t unlike_classes;
  std::size_t unlike_values;
  long largest_step;  // between two integers
};

SelfTestResult SelfTest();

// Real numbers of the first input, in its order, to the class with the largest output; `score` is that output.
Problem Classify(const float* values, std::size_t* best, float* score);

// After SetUp: bytes of the arena in use.
std::size_t ArenaUsed();

}  // namespace app

#endif  // CLASSIFIER_H_
