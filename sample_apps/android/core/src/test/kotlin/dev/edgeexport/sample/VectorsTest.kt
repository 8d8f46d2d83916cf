package dev.edgeexport.sample

import java.io.File
import org.junit.Assert.assertArrayEquals
import org.junit.Assert.assertEquals
import org.junit.Test

/** The cases that Python computed, in `sample_apps/vectors`. */
class VectorsTest {
    private val folder = File(System.getProperty("vectors") ?: "../../vectors")

    private fun cases(name: String): List<Fields> {
        val text = File(folder, name).readText()
        return Fields.parse("{\"cases\": $text}", name).objects("cases")
    }

    private fun check(case: Fields, name: String, made: Tensor, tolerance: Double) {
        assertEquals(name, case.ints("shape"), made.shape)
        val expected = case.numbers("values").map { it.toFloat().toDouble() } // written as the shortest decimals
        assertArrayEquals(name, expected.toDoubleArray(), made.toList().toDoubleArray(), tolerance)
    }

    @Test
    fun textsGetTheSameTokens() {
        val tokenizers = listOf("uncased", "cased").associateWith {
            WordPiece.parse(File(folder, "tokenizer-$it.json").readText())
        }
        val cases = cases("text.json")
        for (case in cases) {
            val spec = case.fields("preprocess")
            val texts = case.strings("texts")
            val made = TextFeatures(spec, tokenizers.getValue(case.string("tokenizer"))).encode(texts)
            val arrays = case.fields("arrays")
            assertEquals(arrays.names, made.keys)
            for ((name, tensor) in made) {
                assertEquals("$name of $texts", arrays.numbers(name), tensor.toList())
                assertEquals(Type.labelled(spec.string("dtype")), tensor.type)
            }
        }
        assertEquals(80, cases.size)
    }

    @Test
    fun picturesGetTheSameBits() {
        val cases = cases("image.json")
        cases.forEachIndexed { number, case ->
            val bytes = case.ints("pixels").map(Int::toByte).toByteArray()
            val pixels = Pixels(case.int("width"), case.int("height"), bytes)
            val made = ImageFeatures(case.fields("preprocess")).encode(pixels).getValue("pixel_values")
            check(case, "picture $number", made, 0.0)
        }
        assertEquals(12, cases.size)
    }

    @Test
    fun recordingsGetTheSameFeatures() {
        val cases = cases("log-mel.json")
        cases.forEachIndexed { number, case ->
            val waveform = case.ints("samples").map { it / 32768f }.toFloatArray()
            val made = LogMelFeatures(case.fields("preprocess")).encode(waveform).getValue("input_features")
            check(case, "recording $number", made, 1e-5)
        }
        assertEquals(6, cases.size)
    }
}
