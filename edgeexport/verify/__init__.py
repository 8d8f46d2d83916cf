"""Does the artifact do what the float32 source does, on each runtime, and within the target's limits?"""
