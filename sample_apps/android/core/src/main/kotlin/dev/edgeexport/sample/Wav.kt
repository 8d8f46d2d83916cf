package dev.edgeexport.sample

import java.nio.ByteBuffer
import java.nio.ByteOrder

/** Mono recordings of 16 bits in the WAVE format. */
object Wav {
    /** Samples in [-1, 1); throws [BundleException] where the file is another kind or has another rate. */
    fun read(bytes: ByteArray, rate: Int): FloatArray {
        val data = ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN)
        if (bytes.size < 12 || name(data) != "RIFF") throw BundleException("the file is no .wav recording")
        data.position(12)
        var seen = false
        while (data.remaining() >= 8) {
            val chunk = name(data)
            val size = minOf(data.getInt().toLong() and 0xffffffffL, data.remaining().toLong()).toInt()
            val start = data.position()
            if (chunk == "fmt " && size >= 16) {
                check(data, rate)
                seen = true
            } else if (chunk == "data" && seen && size > 1) {
                return FloatArray(size / 2) { data.getShort(start + 2 * it) / 32768f }
            }
            data.position(minOf(bytes.size, start + size + size % 2))
        }
        throw BundleException("the recording holds no samples")
    }

    private fun check(data: ByteBuffer, rate: Int) {
        val start = data.position()
        val (kind, channels, bits) = listOf(0, 2, 14).map { data.getShort(start + it).toInt() }
        val found = data.getInt(start + 4)
        if (kind != 1 || channels != 1 || bits != 16 || found != rate) {
            throw BundleException(
                "the recording has $channels channel(s), $bits bits and $found Hz; the model takes one, 16 and $rate Hz",
            )
        }
    }

    private fun name(data: ByteBuffer): String = String(ByteArray(4).also { data.get(it) }, Charsets.US_ASCII)
}
