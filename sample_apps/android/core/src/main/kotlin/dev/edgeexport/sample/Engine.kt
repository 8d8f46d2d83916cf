package dev.edgeexport.sample

import kotlin.math.exp

/** A loaded model, whichever runtime has it; tensors are in the model's own types. */
interface Engine : AutoCloseable {
    fun run(inputs: Map<String, Tensor>): Map<String, Tensor>
}

/** Between real numbers and a model's own types, by a bundle's signature. */
object Scales {
    /** `round(real / scale) + zero point`, ties to even, where an input takes integers for reals. */
    fun quantized(arrays: Map<String, Tensor>, specs: List<Spec>): Map<String, Tensor> = specs.associate { spec ->
        val array = arrays[spec.name] ?: throw BundleException("nothing was made for the input '${spec.name}'")
        spec.name to if (spec.scale == null) array else quantized(array, spec, spec.scale)
    }

    private fun quantized(array: Tensor, spec: Spec, scale: Double): Tensor {
        val (least, most) = when (spec.type) {
            Type.INT8 -> -128.0 to 127.0
            Type.UINT8 -> 0.0 to 255.0
            Type.INT16 -> -32768.0 to 32767.0
            else -> throw BundleException("the input '${spec.name}' stands for reals as ${spec.type.label}")
        }
        return Tensor.of(spec.type, array.shape) {
            val step = Math.rint((array[it].toFloat() / scale.toFloat()).toDouble()) + spec.zeroPoint
            minOf(most, maxOf(least, step))
        }
    }

    /** `scale * (integer - zero point)`. */
    fun dequantized(outputs: Map<String, Tensor>, specs: List<Spec>): Map<String, Tensor> = specs.associate { spec ->
        val array = outputs[spec.name] ?: throw BundleException("the model gave no '${spec.name}'")
        spec.name to if (spec.scale == null || array.type == Type.FLOAT32) array else
            Tensor.of(Type.FLOAT32, array.shape) {
                ((array[it] - spec.zeroPoint).toFloat() * spec.scale.toFloat()).toDouble()
            }
    }
}

/** A class with its probability. */
class Scored(val label: String, val probability: Double)

/** Classes by falling probability. */
fun ranked(scores: Tensor, labels: List<String>): List<Scored> {
    val values = scores.toList()
    val most = values.maxOrNull() ?: return emptyList()
    val shares = values.map { exp(it - most) }
    val total = shares.sum()
    return shares.mapIndexed { index, share -> Scored(labels.getOrElse(index) { "$index" }, share / total) }
        .sortedByDescending { it.probability }
}

private const val NUMBERS = 8

/** What a model without classes gives, such as a regression's values: the numbers as they are, the first of many. */
fun numbers(output: Tensor): String {
    val values = output.toList()
    val shown = values.take(NUMBERS).joinToString("  ") { String.format(java.util.Locale.ROOT, "%.4g", it) }
    return if (values.size > NUMBERS) "$shown …" else shown
}
