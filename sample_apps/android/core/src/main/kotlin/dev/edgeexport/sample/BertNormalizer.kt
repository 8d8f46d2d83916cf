package dev.edgeexport.sample

import java.text.Normalizer

/** Cleans a text and splits it into words, as the `tokenizers` library's BertNormalizer and BertPreTokenizer do. */
class BertNormalizer(
    private val clean: Boolean,
    private val spaceIdeographs: Boolean,
    private val stripAccents: Boolean,
    private val lowercase: Boolean,
) {
    /** By code point: a table's characters, in one array of ranges. */
    fun normalize(text: String): String {
        var points = codePoints(text)
        if (clean) points = points.filter { it !in REMOVED }.map { if (it in BLANK) SPACE else it }
        if (spaceIdeographs) points = points.flatMap { if (it in IDEOGRAPHS) listOf(SPACE, it, SPACE) else listOf(it) }
        if (stripAccents) {
            points = codePoints(Normalizer.normalize(string(points), Normalizer.Form.NFD)).filter { it !in MARKS }
        }
        if (lowercase) points = points.flatMap(::lowered)
        return string(points)
    }

    companion object {
        private const val SPACE = ' '.code
        private const val DOTTED_I = 0x130
        private val REMOVED = Ranges(BertCharacters.removed)
        private val BLANK = Ranges(BertCharacters.blank)
        private val IDEOGRAPHS = Ranges(BertCharacters.ideograph)
        private val MARKS = Ranges(BertCharacters.mark)
        private val SPACES = Ranges(BertCharacters.space)
        private val PUNCTUATION = Ranges(BertCharacters.punctuation)

        /** Words between spaces; punctuation marks are words of their own. */
        fun split(text: String): List<String> {
            val words = ArrayList<String>()
            val word = StringBuilder()
            fun end() {
                if (word.isNotEmpty()) words.add(word.toString())
                word.setLength(0)
            }
            for (point in codePoints(text)) {
                if (point in SPACES) {
                    end()
                } else if (point in PUNCTUATION) {
                    end()
                    words.add(string(listOf(point)))
                } else {
                    word.appendCodePoint(point)
                }
            }
            end()
            return words
        }

        /** One at a time: Java's own would look at the neighbours of a sigma, and at the phone's language. */
        private fun lowered(point: Int): List<Int> =
            if (point == DOTTED_I) listOf('i'.code, 0x307) else listOf(Character.toLowerCase(point))

        fun codePoints(text: String): List<Int> {
            val points = ArrayList<Int>(text.length)
            var at = 0
            while (at < text.length) {
                val point = text.codePointAt(at)
                points.add(point)
                at += Character.charCount(point)
            }
            return points
        }

        fun string(points: List<Int>): String {
            val made = StringBuilder(points.size)
            for (point in points) made.appendCodePoint(point)
            return made.toString()
        }
    }
}

/** A set of code points: pairs of first and last, ascending. */
class Ranges(private val pairs: IntArray) {
    operator fun contains(point: Int): Boolean {
        var low = 0
        var high = pairs.size / 2 - 1
        while (low <= high) {
            val middle = (low + high) / 2
            if (point < pairs[2 * middle]) {
                high = middle - 1
            } else if (point > pairs[2 * middle + 1]) {
                low = middle + 1
            } else {
                return true
            }
        }
        return false
    }
}
