package dev.edgeexport.sample

import java.io.File
import java.io.InputStream
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.security.MessageDigest

/** Where a bundle's files are: a folder, or an app's assets. */
interface Files {
    /** Throws [java.io.IOException] where there is no such file. */
    fun open(name: String): InputStream
}

class FolderFiles(private val folder: File) : Files {
    override fun open(name: String): InputStream = File(folder, name).inputStream()
}

/** A model's input or output; where [scale] is not null, its integers are reals / [scale] + [zeroPoint]. */
class Spec(val name: String, val type: Type, val scale: Double?, val zeroPoint: Int)

/** A folder written by `edgeexport export`, whose files are as they were packed. */
class Bundle private constructor(private val files: Files, private val manifest: Fields) {
    val artifact: String = manifest.string("artifact")
    val format: String = manifest.string("format")
    val task: String = manifest.string("task")
    val labels: List<String> = if (manifest.isNull("labels")) emptyList() else manifest.strings("labels")
    val preprocess: Fields = manifest.fields("preprocess")
    val inputs: List<Spec> = specs("inputs")
    val outputs: List<Spec> = specs("outputs")

    fun read(name: String): ByteArray = files.open(name).use { it.readBytes() }

    fun text(name: String): String = String(read(name), Charsets.UTF_8)

    /** Golden `inputs`, as the model takes them, or the float32 source's `outputs`; one map a sample. */
    fun golden(kind: String): List<Map<String, Tensor>> {
        val folder = "golden/$kind"
        val index = Fields.parse(text("$folder/index.json"), "$folder/index.json")
        val names = index.strings("names")
        val types = index.strings("dtypes").map(Type.Companion::coded)
        val values = names.indices.map { ByteBuffer.wrap(read("$folder/$it.bin")).order(ByteOrder.LITTLE_ENDIAN) }
        return (index.raw("shapes") as List<*>).map { shapes ->
            (shapes as List<*>).mapIndexed { number, shape ->
                val lengths = (shape as List<*>).map { (it as Double).toInt() }
                names[number] to next(values[number], types[number], lengths, "$folder/$number.bin")
            }.toMap()
        }
    }

    private fun next(data: ByteBuffer, type: Type, shape: List<Int>, where: String): Tensor {
        val tensor = Tensor(type, shape)
        if (data.remaining() < tensor.size * type.bytes) throw BundleException("$where is shorter than its index says")
        for (index in 0 until tensor.size) {
            tensor[index] = when (type) {
                Type.FLOAT32 -> data.getFloat().toDouble()
                Type.INT64 -> data.getLong().toDouble()
                Type.INT32 -> data.getInt().toDouble()
                Type.INT16 -> data.getShort().toDouble()
                Type.INT8 -> data.get().toDouble()
                Type.UINT8 -> (data.get().toInt() and 0xff).toDouble()
            }
        }
        return tensor
    }

    private fun specs(kind: String): List<Spec> = manifest.fields("signature").objects(kind).map {
        val whole = it.isNull("scale")
        Spec(
            it.string("name"),
            Type.labelled(it.string("dtype")),
            if (whole) null else it.number("scale"),
            if (whole || it.isNull("zero_point")) 0 else it.int("zero_point"),
        )
    }

    companion object {
        private const val MANIFEST = "manifest.json"
        private const val SCHEMA = 1

        /** Throws [BundleException] where it is no bundle, or a file is missing or was altered. */
        fun open(files: Files): Bundle {
            val text = try {
                files.open(MANIFEST).use { String(it.readBytes(), Charsets.UTF_8) }
            } catch (error: java.io.IOException) {
                throw BundleException("there is no bundle: $MANIFEST cannot be read (${error.message})")
            }
            val manifest = Fields.parse(text, MANIFEST)
            if (manifest.int("schema_version") != SCHEMA) {
                throw BundleException("$MANIFEST has schema ${manifest.int("schema_version")}, this app reads $SCHEMA")
            }
            val hashes = manifest.fields("files")
            for (name in hashes.names) check(files, name, hashes.string(name))
            return Bundle(files, manifest)
        }

        private fun check(files: Files, name: String, expected: String) {
            if (name.startsWith("/") || name.split('/').any { it == ".." }) {
                throw BundleException("$MANIFEST names a file outside the bundle: $name")
            }
            val digest = MessageDigest.getInstance("SHA-256")
            try {
                files.open(name).use { stream ->
                    val piece = ByteArray(1 shl 16)
                    while (true) {
                        val count = stream.read(piece)
                        if (count < 0) break
                        digest.update(piece, 0, count)
                    }
                }
            } catch (error: java.io.IOException) {
                throw BundleException("$name is missing from the bundle; copy the whole of it again")
            }
            val found = digest.digest().joinToString("") { String.format("%02x", it) }
            if (found != expected) throw BundleException("$name was altered; copy the whole bundle again")
        }
    }
}
