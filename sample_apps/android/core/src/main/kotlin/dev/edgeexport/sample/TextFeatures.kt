package dev.edgeexport.sample

/** Texts to token ids, by a manifest's `tokenizer` preprocessing. */
class TextFeatures(private val spec: Fields, private val tokenizer: WordPiece) {
    /** How many texts a sample has. */
    val count: Int = maxOf(1, spec.strings("fields").size)

    /** Arrays [1, tokens] by input name. */
    fun encode(texts: List<String>): Map<String, Tensor> {
        if (texts.size != count) throw BundleException("the model takes $count text(s), not ${texts.size}")
        val encoding = tokenizer.encode(texts, spec.int("max_length"), spec.string("truncation_side") == "left")
        val size = encoding.ids.size
        val length = padded(size)
        fun row(values: List<Int>, padding: Int) = values + List(length - size) { padding }
        val type = Type.labelled(spec.string("dtype"))
        return spec.strings("inputs").associateWith { name ->
            val values = when (name) {
                "input_ids" -> row(encoding.ids, spec.int("pad_id"))
                "token_type_ids" -> row(encoding.types, spec.int("pad_type_id"))
                "attention_mask" -> row(List(size) { 1 }, 0)
                "position_ids" -> List(length) { it }
                else -> throw BundleException("the model takes '$name', which no text gives")
            }
            Tensor.integers(type, listOf(1, length), values)
        }
    }

    private fun padded(size: Int): Int {
        val lengths = spec.ints("lengths")
        if (lengths.isEmpty()) return size
        return lengths.filter { it >= size }.minOrNull() ?: throw BundleException("no length of the model holds $size tokens")
    }
}
