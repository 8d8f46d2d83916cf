package dev.edgeexport.sample

import kotlin.math.PI
import kotlin.math.cos
import kotlin.math.exp
import kotlin.math.ln
import kotlin.math.log10
import kotlin.math.max
import kotlin.math.min
import kotlin.math.pow
import kotlin.math.sin
import kotlin.math.sqrt

/** Recordings to log-mel spectrograms, by a manifest's `log-mel` preprocessing, in double precision. */
class LogMelFeatures(private val spec: Fields) {
    val sampleRate: Int = spec.int("sample_rate")
    private val size = spec.int("n_fft")
    private val hop = spec.int("hop_length")
    private val frames = spec.int("frames")
    private val mels = spec.int("n_mels")
    private val center = spec.flag("center")
    private val power = spec.number("power")
    private val window = window()
    private val filters = filters()
    private val cosines = DoubleArray(size) { cos(2 * PI * it / size) }
    private val sines = DoubleArray(size) { sin(2 * PI * it / size) }

    /** Samples that are used; a shorter recording is continued by silence. */
    val samples: Int = if (center) frames * hop else (frames - 1) * hop + size

    /** An array [1, 1, mels, frames] or [1, frames, mels, 1] of a mono recording in [-1, 1), by the input's name. */
    fun encode(waveform: FloatArray): Map<String, Tensor> {
        val byFrame = spec.string("layout") == "frames-mels-channel"
        val values = FloatArray(mels * frames)
        for (frame in 0 until frames) {
            val powers = powers(waveform, frame)
            for (mel in 0 until mels) {
                val place = if (byFrame) frame * mels + mel else mel * frames + frame
                values[place] = scaled(filters[mel].indices.sumOf { filters[mel][it] * powers[it] })
            }
        }
        val shape = if (byFrame) listOf(1, frames, mels, 1) else listOf(1, 1, mels, frames)
        return mapOf(spec.string("input") to Tensor.floats(shape, values))
    }

    private fun scaled(energy: Double): Float {
        val raised = max(energy, spec.number("floor"))
        val logarithm = if (spec.string("log") == "log") ln(raised) else log10(raised)
        if (spec.isNull("mean")) return logarithm.toFloat()
        return ((logarithm - spec.number("mean")) / spec.number("std")).toFloat()
    }

    /** |X|^power of one frame, at size / 2 + 1 frequencies. */
    private fun powers(waveform: FloatArray, frame: Int): DoubleArray {
        val part = DoubleArray(size) { window[it] * sample(waveform, frame * hop + it) }
        return DoubleArray(size / 2 + 1) { frequency ->
            var real = 0.0
            var imaginary = 0.0
            var turn = 0
            for (value in part) {
                real += value * cosines[turn]
                imaginary -= value * sines[turn]
                turn = (turn + frequency) % size
            }
            val energy = real * real + imaginary * imaginary
            if (power == 2.0) energy else sqrt(energy).pow(power)
        }
    }

    /** Where the frames are centred, the used samples are mirrored about the first and the last. */
    private fun sample(waveform: FloatArray, place: Int): Double {
        var at = place
        if (center) {
            at = Math.abs(place - size / 2)
            if (at >= samples) at = 2 * (samples - 1) - at
        }
        return if (at < waveform.size) waveform[at].toDouble() else 0.0
    }

    private fun window(): DoubleArray {
        val length = spec.int("win_length")
        val start = (size - length) / 2
        return DoubleArray(size) {
            val place = it - start
            if (place in 0 until length) 0.5 - 0.5 * cos(2 * PI * place / length) else 0.0
        }
    }

    private fun filters(): Array<DoubleArray> {
        val low = mel(spec.number("f_min"))
        val high = mel(spec.number("f_max"))
        val edges = DoubleArray(mels + 2) { hertz(low + (high - low) * it / (mels + 1)) }
        val area = spec.string("norm") == "slaney"
        return Array(mels) { number ->
            val (lower, peak, upper) = Triple(edges[number], edges[number + 1], edges[number + 2])
            DoubleArray(size / 2 + 1) {
                val frequency = it * sampleRate.toDouble() / size
                val height = max(0.0, min((frequency - lower) / (peak - lower), (upper - frequency) / (upper - peak)))
                if (area) height * 2 / (upper - lower) else height
            }
        }
    }

    private fun mel(hertz: Double): Double {
        if (spec.string("mel_scale") == "htk") return 2595 * log10(1 + hertz / 700)
        return if (hertz >= 1000) 15 + 27 * ln(hertz / 1000) / ln(6.4) else 3 * hertz / 200
    }

    private fun hertz(mel: Double): Double {
        if (spec.string("mel_scale") == "htk") return 700 * (10.0.pow(mel / 2595) - 1)
        return if (mel >= 15) 1000 * exp(ln(6.4) * (mel - 15) / 27) else 200 * mel / 3
    }
}
