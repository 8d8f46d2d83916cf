package dev.edgeexport.sample

/** A `tokenizer.json` of BERT's kind: its normalizer, its words, WordPiece, and the tokens around a text or a pair. */
class WordPiece private constructor(
    private val normalizer: BertNormalizer,
    private val vocabulary: Map<String, Int>,
    private val unknown: Int,
    private val prefix: String,
    private val longestWord: Int,
    private val added: List<Pair<String, Int>>,
    private val single: List<Piece>,
    private val pair: List<Piece>,
) {
    /** A token id with its type, or where [id] is null the text number [sequence]. */
    class Piece(val id: Int?, val sequence: Int, val type: Int)

    class Encoding(val ids: List<Int>, val types: List<Int>)

    /** Ids of one text, without the tokens around it. */
    fun tokens(text: String): List<Int> {
        val found = ArrayList<Int>()
        var rest = text
        while (rest.isNotEmpty()) {
            // An added token such as [SEP] is one wherever it stands; of several that begin there, the longest.
            val hit = added.map { it to rest.indexOf(it.first) }.filter { it.second >= 0 }
                .minWithOrNull(compareBy({ it.second }, { -it.first.first.length }))
            val before = if (hit == null) rest else rest.substring(0, hit.second)
            for (word in BertNormalizer.split(normalizer.normalize(before))) found.addAll(pieces(word))
            if (hit == null) break
            found.add(hit.first.second)
            rest = rest.substring(hit.second + hit.first.first.length)
        }
        return found
    }

    /** Cut to [maxLength], of two texts the longer one first, with the tokens around them. */
    fun encode(texts: List<String>, maxLength: Int, cutLeft: Boolean): Encoding {
        val template = if (texts.size == 2) pair else single
        val room = maxLength - template.count { it.id != null }
        if (room < 1) throw BundleException("the tokenizer's own tokens leave no room in a max_length of $maxLength")
        val sequences = cut(texts.map(::tokens), room, cutLeft)
        val ids = ArrayList<Int>()
        val types = ArrayList<Int>()
        for (piece in template) {
            val these = if (piece.id != null) listOf(piece.id) else sequences[piece.sequence]
            ids.addAll(these)
            these.forEach { _ -> types.add(piece.type) }
        }
        return Encoding(ids, types)
    }

    private fun pieces(word: String): List<Int> {
        val points = BertNormalizer.codePoints(word)
        if (points.size > longestWord) return listOf(unknown)
        val found = ArrayList<Int>()
        var start = 0
        while (start < points.size) {
            var end = points.size
            var id: Int? = null
            while (end > start) {
                val part = BertNormalizer.string(points.subList(start, end))
                id = vocabulary[if (start > 0) prefix + part else part]
                if (id != null) break
                end--
            }
            found.add(id ?: return listOf(unknown))
            start = end
        }
        return found
    }

    companion object {
        private fun cut(sequences: List<List<Int>>, room: Int, left: Boolean): List<List<Int>> {
            if (sequences.sumOf { it.size } <= room) return sequences
            val keep = if (sequences.size == 1) listOf(room) else shares(sequences[0].size, sequences[1].size, room)
            return sequences.mapIndexed { number, ids -> if (left) ids.takeLast(keep[number]) else ids.take(keep[number]) }
        }

        /** How much of two sequences stays; the library's "longest first". */
        private fun shares(first: Int, second: Int, room: Int): List<Int> {
            var shorter = minOf(first, second)
            var longer = if (shorter > room) shorter else maxOf(shorter, room - shorter)
            if (shorter + longer > room) {
                shorter = room / 2
                longer = shorter + room % 2
            }
            return if (first > second) listOf(longer, shorter) else listOf(shorter, longer)
        }

        /** Throws [BundleException] where the tokenizer is of another kind. */
        fun parse(text: String): WordPiece {
            val file = Fields.parse(text, "tokenizer.json")
            val model = file.fields("model")
            expect(model, "WordPiece", "model")
            expect(file.fields("pre_tokenizer"), "BertPreTokenizer", "pre_tokenizer")
            val vocabulary = model.fields("vocab").let { all -> all.names.associateWith(all::int) }
            val unknown = model.string("unk_token")
            val processor = file.fields("post_processor")
            return WordPiece(
                normalizer(file.fields("normalizer")),
                vocabulary,
                vocabulary[unknown] ?: throw BundleException("tokenizer.json: $unknown is not in its vocabulary"),
                model.string("continuing_subword_prefix"),
                model.int("max_input_chars_per_word"),
                file.objects("added_tokens").map(::addedToken),
                template(processor, "single"),
                template(processor, "pair"),
            )
        }

        private fun normalizer(fields: Fields): BertNormalizer {
            expect(fields, "BertNormalizer", "normalizer")
            val lowercase = fields.flag("lowercase")
            return BertNormalizer(
                fields.flag("clean_text"),
                fields.flag("handle_chinese_chars"),
                if (fields.isNull("strip_accents")) lowercase else fields.flag("strip_accents"),
                lowercase,
            )
        }

        private fun addedToken(fields: Fields): Pair<String, Int> {
            val content = fields.string("content")
            for (flag in listOf("normalized", "single_word", "lstrip", "rstrip")) {
                if (fields.flag(flag)) throw BundleException("tokenizer.json: $content is $flag, which this app has not")
            }
            return content to fields.int("id")
        }

        private fun template(processor: Fields, name: String): List<Piece> {
            if (processor.string("type") == "BertProcessing") {
                val (before, after) = listOf("cls", "sep").map { ((processor.raw(it) as List<*>)[1] as Double).toInt() }
                val start = listOf(Piece(before, 0, 0), Piece(null, 0, 0), Piece(after, 0, 0))
                return if (name == "single") start else start + listOf(Piece(null, 1, 1), Piece(after, 0, 1))
            }
            expect(processor, "TemplateProcessing", "post_processor")
            val special = processor.fields("special_tokens")
            return processor.objects(name).flatMap { piece ->
                if ("Sequence" in piece.names) {
                    val sequence = piece.fields("Sequence")
                    listOf(Piece(null, if (sequence.string("id") == "B") 1 else 0, sequence.int("type_id")))
                } else {
                    val token = piece.fields("SpecialToken")
                    special.fields(token.string("id")).ints("ids").map { Piece(it, 0, token.int("type_id")) }
                }
            }
        }

        private fun expect(fields: Fields, kind: String, part: String) {
            val found = fields.string("type")
            if (found != kind) throw BundleException("tokenizer.json: its $part is $found, this app has only $kind")
        }
    }
}
