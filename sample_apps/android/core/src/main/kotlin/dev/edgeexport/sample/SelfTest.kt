package dev.edgeexport.sample

import kotlin.math.abs
import kotlin.math.sqrt

/** Golden inputs through a model here, against the float32 source's outputs that travel in the bundle. */
class SelfTest(val samples: Int, val unlike: Int, val cosine: Double, val difference: Double) {
    /** Near enough to float32; one sample in eight may fall on the other side of a close decision. */
    val passed: Boolean get() = samples > 0 && unlike <= samples / 8 && cosine >= COSINE

    override fun toString(): String = String.format(
        java.util.Locale.ROOT,
        "%s: %d golden samples, %d predicted unlike float32, cosine %.4f, greatest difference %.4g",
        if (passed) "PASS" else "FAIL", samples, unlike, cosine, difference,
    )

    companion object {
        /**
         * Over all golden outputs as one vector. Integer models have above 0.99; inputs in a wrong order, a wrong
         * layout or a runtime that computes something else are far below.
         */
        const val COSINE = 0.95

        fun run(bundle: Bundle, engine: Engine): SelfTest {
            val inputs = bundle.golden("inputs")
            val wanted = bundle.golden("outputs")
            if (inputs.size != wanted.size) throw BundleException("golden inputs and outputs are not as many")
            val found = inputs.map { Scales.dequantized(engine.run(it), bundle.outputs) }
            val first = bundle.outputs.first().name
            val unlike = if (bundle.task != "classification") 0 else found.indices.count {
                best(found[it].getValue(first)) != best(wanted[it].getValue(first))
            }
            val pairs = bundle.outputs.map { spec ->
                wanted.flatMap { it.getValue(spec.name).toList() } to found.flatMap { it.getValue(spec.name).toList() }
            }
            return SelfTest(
                found.size,
                unlike,
                pairs.map { cosine(it.first, it.second) }.minOrNull() ?: 0.0,
                pairs.flatMap { (a, b) -> a.zip(b) { x, y -> abs(x - y) } }.maxOrNull() ?: Double.POSITIVE_INFINITY,
            )
        }

        private fun best(scores: Tensor): Int = scores.toList().let { values -> values.indexOf(values.maxOrNull()) }

        /** 0 where a value is not finite, so that NaN never passes. */
        private fun cosine(a: List<Double>, b: List<Double>): Double {
            if (a.size != b.size) return 0.0
            val norms = sqrt(a.sumOf { it * it }) * sqrt(b.sumOf { it * it })
            val product = a.indices.sumOf { a[it] * b[it] }
            return if (norms > 0 && norms <= Double.MAX_VALUE) product / norms else 0.0
        }
    }
}
