package dev.edgeexport.sample

import java.nio.ByteBuffer
import java.nio.ByteOrder

/** Element types that bundles use, by their names in a manifest and in a stream. */
enum class Type(val label: String, val code: String, val bytes: Int) {
    FLOAT32("float32", "<f4", 4),
    INT64("int64", "<i8", 8),
    INT32("int32", "<i4", 4),
    INT16("int16", "<i2", 2),
    INT8("int8", "|i1", 1),
    UINT8("uint8", "|u1", 1);

    companion object {
        fun labelled(label: String): Type =
            values().find { it.label == label } ?: throw BundleException("no tensor here is $label")

        fun coded(code: String): Type =
            values().find { it.code == code } ?: throw BundleException("no tensor here is $code")
    }
}

/** Values in C order, in a direct buffer of the machine's byte order: what both runtimes take without a copy. */
class Tensor(val type: Type, val shape: List<Int>) {
    val size: Int = shape.fold(1) { count, length -> Math.multiplyExact(count, length) }
    private val buffer: ByteBuffer =
        ByteBuffer.allocateDirect(Math.multiplyExact(size, type.bytes)).order(ByteOrder.nativeOrder())

    /** The bytes, from the first one. */
    fun bytes(): ByteBuffer = buffer.duplicate().order(ByteOrder.nativeOrder()).also { it.rewind() }

    operator fun get(index: Int): Double = when (type) {
        Type.FLOAT32 -> buffer.getFloat(4 * index).toDouble()
        Type.INT64 -> buffer.getLong(8 * index).toDouble()
        Type.INT32 -> buffer.getInt(4 * index).toDouble()
        Type.INT16 -> buffer.getShort(2 * index).toDouble()
        Type.INT8 -> buffer.get(index).toDouble()
        Type.UINT8 -> (buffer.get(index).toInt() and 0xff).toDouble()
    }

    /** Integers are to be whole and in range already. */
    operator fun set(index: Int, value: Double) {
        when (type) {
            Type.FLOAT32 -> buffer.putFloat(4 * index, value.toFloat())
            Type.INT64 -> buffer.putLong(8 * index, value.toLong())
            Type.INT32 -> buffer.putInt(4 * index, value.toInt())
            Type.INT16 -> buffer.putShort(2 * index, value.toInt().toShort())
            Type.INT8, Type.UINT8 -> buffer.put(index, value.toInt().toByte())
        }
    }

    fun toList(): List<Double> = List(size) { get(it) }

    companion object {
        fun of(type: Type, shape: List<Int>, value: (Int) -> Double): Tensor {
            val made = Tensor(type, shape)
            for (index in 0 until made.size) made[index] = value(index)
            return made
        }

        fun floats(shape: List<Int>, values: FloatArray): Tensor = of(Type.FLOAT32, shape) { values[it].toDouble() }

        fun integers(type: Type, shape: List<Int>, values: List<Int>): Tensor =
            of(type, shape) { values[it].toDouble() }
    }
}
