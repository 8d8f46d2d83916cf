package dev.edgeexport.sample.app

import android.content.ContentResolver
import android.graphics.Bitmap
import android.graphics.BitmapFactory
import android.net.Uri
import dev.edgeexport.sample.Bundle
import dev.edgeexport.sample.BundleException
import dev.edgeexport.sample.Engine
import dev.edgeexport.sample.ImageFeatures
import dev.edgeexport.sample.LogMelFeatures
import dev.edgeexport.sample.Pixels
import dev.edgeexport.sample.Scales
import dev.edgeexport.sample.Tensor
import dev.edgeexport.sample.TextFeatures
import dev.edgeexport.sample.Wav
import dev.edgeexport.sample.WordPiece
import dev.edgeexport.sample.numbers
import dev.edgeexport.sample.ranked
import java.util.Locale

/** A bundle with its model and what makes inputs for it. Nothing here is for the main thread. */
class Classifier(val bundle: Bundle, val engine: Engine) {
    val kind: String = bundle.preprocess.string("kind")
    val texts: TextFeatures? = if (kind != "tokenizer") null else
        TextFeatures(bundle.preprocess, WordPiece.parse(bundle.text("tokenizer.json")))

    /** What a file picker should offer; null where the model takes texts. */
    val media: String? = when (kind) {
        "image" -> "image/*"
        "log-mel" -> "audio/*"
        else -> null
    }

    fun text(given: List<String>): String {
        val features = texts ?: throw BundleException("the model takes no text")
        return answer(features.encode(given))
    }

    fun file(resolver: ContentResolver, place: Uri): String {
        val bytes = resolver.openInputStream(place)?.use { it.readBytes() }
            ?: throw BundleException("$place cannot be read")
        return answer(
            when (kind) {
                "image" -> ImageFeatures(bundle.preprocess).encode(pixels(bytes))
                "log-mel" -> LogMelFeatures(bundle.preprocess).let { it.encode(Wav.read(bytes, it.sampleRate)) }
                else -> throw BundleException("the model takes no file")
            },
        )
    }

    /** The likeliest classes, a line each; the numbers themselves of a model that gives none. */
    private fun answer(arrays: Map<String, Tensor>): String {
        val outputs = engine.run(Scales.quantized(arrays, bundle.inputs))
        val first = Scales.dequantized(outputs, bundle.outputs).getValue(bundle.outputs.first().name)
        if (bundle.task != "classification") return numbers(first)
        return ranked(first, bundle.labels).take(SHOWN).joinToString("\n") {
            String.format(Locale.ROOT, "%s  %.1f %%", it.label, 100 * it.probability)
        }
    }

    private fun pixels(bytes: ByteArray): Pixels {
        val options = BitmapFactory.Options()
        options.inPreferredConfig = Bitmap.Config.ARGB_8888
        options.inPremultiplied = false // colours under transparency stay as they are, as in Python
        val bitmap = BitmapFactory.decodeByteArray(bytes, 0, bytes.size, options)
            ?: throw BundleException("the file is no picture that this phone reads")
        val colours = IntArray(bitmap.width * bitmap.height)
        bitmap.getPixels(colours, 0, bitmap.width, 0, 0, bitmap.width, bitmap.height)
        val data = ByteArray(3 * colours.size) { (colours[it / 3] shr (16 - 8 * (it % 3))).toByte() }
        return Pixels(bitmap.width, bitmap.height, data)
    }

    private companion object {
        const val SHOWN = 5
    }
}
