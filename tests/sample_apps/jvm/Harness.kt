// What test_android.py asks of the app's module, a word and its arguments a line; answers are JSON.

import dev.edgeexport.sample.BertNormalizer
import dev.edgeexport.sample.Bundle
import dev.edgeexport.sample.BundleException
import dev.edgeexport.sample.Engine
import dev.edgeexport.sample.Fields
import dev.edgeexport.sample.FolderFiles
import dev.edgeexport.sample.LogMelFeatures
import dev.edgeexport.sample.Scales
import dev.edgeexport.sample.SelfTest
import dev.edgeexport.sample.Tensor
import dev.edgeexport.sample.TextFeatures
import dev.edgeexport.sample.WordPiece
import dev.edgeexport.sample.numbers
import dev.edgeexport.sample.ranked
import java.io.File
import java.nio.ByteBuffer
import java.nio.ByteOrder

fun shown(arrays: Map<String, Tensor>): String =
    arrays.entries.joinToString(",", "{", "}") { (name, tensor) -> "\"$name\":[${tensor.toList().joinToString(",")}]" }

/** Lines of a file, each a sample's texts apart by tabs, as the tokenizer of a folder encodes them. */
fun encode(folder: String, preprocess: String, lines: String) {
    val tokenizer = WordPiece.parse(File(folder, "tokenizer.json").readText())
    val features = TextFeatures(Fields.parse(File(preprocess).readText(), preprocess), tokenizer)
    for (line in File(lines).readText().removeSuffix("\n").split("\n")) println(shown(features.encode(line.split("\t"))))
}

/** Every code point of a file of UTF-32, normalized on its own between two letters. */
fun normalize(points: String, lowercase: Boolean) {
    val data = ByteBuffer.wrap(File(points).readBytes()).order(ByteOrder.LITTLE_ENDIAN).asIntBuffer()
    val normalizer = BertNormalizer(true, true, lowercase, lowercase)
    while (data.hasRemaining()) {
        val words = BertNormalizer.split(normalizer.normalize("a" + String(Character.toChars(data.get())) + "b"))
        println(words.joinToString(" ") { word -> BertNormalizer.codePoints(word).joinToString("-") })
    }
}

fun recordings(folder: String, lines: String) {
    val bundle = Bundle.open(FolderFiles(File(folder)))
    val features = LogMelFeatures(bundle.preprocess)
    for (path in File(lines).readLines()) {
        val shorts = ByteBuffer.wrap(File(path).readBytes()).order(ByteOrder.LITTLE_ENDIAN).asShortBuffer()
        val made = features.encode(FloatArray(shorts.remaining()) { shorts.get(it) / 32768f })
        val real = shown(made)
        println("{\"real\":$real,\"given\":${shown(Scales.quantized(made, bundle.inputs))}}")
    }
}

/** The bundle as read; a self-test by an engine that answers what was expected, turned round or not. */
fun open(folder: String, reversed: Boolean) {
    val bundle = Bundle.open(FolderFiles(File(folder)))
    val answers = bundle.golden("outputs")
    var number = 0
    val engine = object : Engine {
        override fun run(inputs: Map<String, Tensor>): Map<String, Tensor> = answers[number++].mapValues { (_, tensor) ->
            if (reversed) Tensor.of(tensor.type, tensor.shape) { tensor[tensor.size - 1 - it] } else tensor
        }

        override fun close() = Unit
    }
    println("[${bundle.golden("inputs").joinToString(",", transform = ::shown)}]")
    println("[${answers.joinToString(",", transform = ::shown)}]")
    println(SelfTest.run(bundle, engine))
    val first = ranked(answers[0].values.first(), bundle.labels).first()
    println("${bundle.format} ${bundle.task} ${first.label} ${first.probability}")
}

fun main(arguments: Array<String>) {
    try {
        when (arguments[0]) {
            "encode" -> encode(arguments[1], arguments[2], arguments[3])
            "normalize" -> normalize(arguments[1], arguments[2] == "lowercase")
            "recordings" -> recordings(arguments[1], arguments[2])
            "numbers" -> arguments.drop(1).map { it.toFloat() }.toFloatArray().let { values ->
                println(numbers(Tensor.floats(listOf(1, values.size), values)))
            }
            "open" -> open(arguments[1], arguments[2] == "reversed")
        }
    } catch (error: BundleException) {
        println("refused: ${error.message}")
        System.exit(2)
    }
}
