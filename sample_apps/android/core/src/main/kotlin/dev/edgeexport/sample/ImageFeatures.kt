package dev.edgeexport.sample

/** Pictures to pixel values, by a manifest's `image` preprocessing: resize, crop, reorder, rescale, normalise. */
class ImageFeatures(private val spec: Fields) {
    private val reversed = spec.string("channels") == "BGR"
    private val last = spec.string("layout") == "NHWC"
    private val table = Array(3) { channel -> FloatArray(256) { value(channel, it) } }

    /** An array [1, 3, height, width] or [1, height, width, 3] by the input's name. */
    fun encode(picture: Pixels): Map<String, Tensor> {
        val pixels = cropped(resized(picture))
        val (width, height) = pixels.width to pixels.height
        val values = FloatArray(3 * width * height)
        for (channel in 0 until 3) for (y in 0 until height) for (x in 0 until width) {
            val place = if (last) 3 * (y * width + x) + channel else (channel * height + y) * width + x
            values[place] = table[channel][pixels.at(x, y, if (reversed) 2 - channel else channel)]
        }
        val shape = if (last) listOf(1, height, width, 3) else listOf(1, 3, height, width)
        return mapOf(spec.string("input") to Tensor.floats(shape, values))
    }

    /** What a byte becomes: in double up to the factor, in float after it, as Transformers computes. */
    private fun value(channel: Int, byte: Int): Float {
        var value = byte.toFloat()
        if (!spec.isNull("rescale")) value = (byte.toDouble() * spec.number("rescale")).toFloat()
        if (!spec.isNull("mean")) {
            value = (value - spec.numbers("mean")[channel].toFloat()) / spec.numbers("std")[channel].toFloat()
        }
        return value
    }

    private fun resized(picture: Pixels): Pixels {
        if (spec.isNull("resize")) return picture
        val (width, height) = when (val size = spec.raw("resize")) {
            is List<*> -> (size[1] as Double).toInt() to (size[0] as Double).toInt()
            else -> shortest(spec.int("resize"), picture)
        }
        return PillowResize.resize(picture, width, height, spec.string("resample"))
    }

    /** Width and height whose shorter one is [edge], in the picture's proportion. */
    private fun shortest(edge: Int, picture: Pixels): Pair<Int, Int> {
        val (width, height) = picture.width to picture.height
        if (width <= height) return edge to (edge.toLong() * height / width.toDouble()).toInt()
        return (edge.toLong() * width / height.toDouble()).toInt() to edge
    }

    /** About the centre; too small a picture gets black around it, the odd pixel before it. */
    private fun cropped(pixels: Pixels): Pixels {
        if (spec.isNull("crop")) return pixels
        val (height, width) = spec.ints("crop")
        val left = offset(pixels.width, width)
        val top = offset(pixels.height, height)
        val made = ByteArray(3 * width * height)
        var at = 0
        for (y in 0 until height) for (x in 0 until width) for (channel in 0 until 3) {
            val (column, row) = x + left to y + top
            val inside = column in 0 until pixels.width && row in 0 until pixels.height
            made[at++] = if (inside) pixels.at(column, row, channel).toByte() else 0
        }
        return Pixels(width, height, made)
    }

    private fun offset(have: Int, want: Int): Int = if (have >= want) (have - want) / 2 else -((want - have) - (want - have) / 2)
}
