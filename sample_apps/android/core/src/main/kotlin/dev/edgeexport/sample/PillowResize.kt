package dev.edgeexport.sample

import kotlin.math.PI
import kotlin.math.abs
import kotlin.math.cos
import kotlin.math.max
import kotlin.math.min
import kotlin.math.sin

/** RGB pixels, rows from the top, three bytes each. */
class Pixels(val width: Int, val height: Int, val data: ByteArray) {
    init {
        if (data.size != 3 * width * height) throw BundleException("$width x $height pixels are not ${data.size} bytes")
    }

    fun at(x: Int, y: Int, channel: Int): Int = data[3 * (y * width + x) + channel].toInt() and 0xff
}

/**
 * The resizing of Pillow 13 to the last bit: filters that widen with the scale, weights in 22-bit fixed point, two passes.
 *
 * Where the height shrinks by more than twice the pixels that the width does, the pass down comes first. Earlier
 * versions always go across first, which moves some values by one.
 */
object PillowResize {
    private const val PRECISION = 22

    private class Filter(val support: Double, val weight: (Double) -> Double)

    /** Where an output pixel's window begins, and its weights. */
    private class Window(val start: Int, val weights: IntArray)

    private val FILTERS = mapOf(
        "box" to Filter(0.5) { x -> if (x > -0.5 && x <= 0.5) 1.0 else 0.0 },
        "bilinear" to Filter(1.0) { x -> max(0.0, 1.0 - abs(x)) },
        "hamming" to Filter(1.0) { x ->
            val turn = abs(x) * PI
            if (x == 0.0) 1.0 else if (abs(x) >= 1.0) 0.0 else sin(turn) / turn * (0.54 + 0.46 * cos(turn))
        },
        "bicubic" to Filter(2.0) { x -> bicubic(abs(x)) },
        "lanczos" to Filter(3.0) { x -> if (x >= -3.0 && x < 3.0) sinc(x) * sinc(x / 3) else 0.0 },
    )

    fun resize(pixels: Pixels, width: Int, height: Int, filter: String): Pixels {
        if (width == pixels.width && height == pixels.height) return pixels
        if (filter == "nearest") return nearest(pixels, width, height)
        val chosen = FILTERS[filter] ?: throw BundleException("there is no filter '$filter'")
        val passes = listOf<(Pixels) -> Pixels>(
            { if (width == it.width) it else across(it, windows(it.width, width, chosen)) },
            { if (height == it.height) it else down(it, windows(it.height, height, chosen)) },
        )
        val shrinks = pixels.height - height
        val downFirst = shrinks > 0 && shrinks > 2 * (pixels.width - width)
        return (if (downFirst) passes.reversed() else passes).fold(pixels) { made, pass -> pass(made) }
    }

    private fun across(pixels: Pixels, windows: List<Window>): Pixels {
        val made = ByteArray(3 * windows.size * pixels.height)
        var at = 0
        for (y in 0 until pixels.height) for (window in windows) for (channel in 0 until 3) {
            made[at++] = weighed(window) { pixels.at(it, y, channel) }
        }
        return Pixels(windows.size, pixels.height, made)
    }

    private fun down(pixels: Pixels, windows: List<Window>): Pixels {
        val made = ByteArray(3 * pixels.width * windows.size)
        var at = 0
        for (window in windows) for (x in 0 until pixels.width) for (channel in 0 until 3) {
            made[at++] = weighed(window) { pixels.at(x, it, channel) }
        }
        return Pixels(pixels.width, windows.size, made)
    }

    private inline fun weighed(window: Window, value: (Int) -> Int): Byte {
        var sum = 1 shl (PRECISION - 1)
        for (number in window.weights.indices) sum += value(window.start + number) * window.weights[number]
        return min(255, max(0, sum shr PRECISION)).toByte()
    }

    private fun windows(from: Int, to: Int, filter: Filter): List<Window> {
        val scale = from.toDouble() / to
        val stretch = max(1.0, scale)
        val support = filter.support * stretch
        return List(to) { place ->
            val center = (place + 0.5) * scale
            val start = max(0, (center - support + 0.5).toInt())
            val end = min(from, (center + support + 0.5).toInt())
            val weights = DoubleArray(end - start) { filter.weight((start + it - center + 0.5) * (1.0 / stretch)) }
            val total = weights.sum()
            Window(start, IntArray(weights.size) { fixed(if (total != 0.0) weights[it] / total else weights[it]) })
        }
    }

    private fun fixed(weight: Double): Int = ((if (weight < 0) -0.5 else 0.5) + weight * (1 shl PRECISION)).toInt()

    private fun bicubic(x: Double): Double {
        val a = -0.5
        if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1
        return if (x < 2.0) (((x - 5) * x + 8) * x - 4) * a else 0.0
    }

    private fun sinc(x: Double): Double = if (x == 0.0) 1.0 else sin(x * PI) / (x * PI)

    private fun nearest(pixels: Pixels, width: Int, height: Int): Pixels {
        val columns = places(pixels.width, width)
        val rows = places(pixels.height, height)
        val made = ByteArray(3 * width * height)
        var at = 0
        for (y in rows) for (x in columns) for (channel in 0 until 3) made[at++] = pixels.at(x, y, channel).toByte()
        return Pixels(width, height, made)
    }

    /** Added up step by step, as Pillow does: a product would round otherwise. */
    private fun places(from: Int, to: Int): List<Int> {
        val step = from.toDouble() / to
        var place = step * 0.5
        return List(to) { place.toInt().also { place += step } }
    }
}
