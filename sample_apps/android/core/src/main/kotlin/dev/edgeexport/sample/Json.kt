package dev.edgeexport.sample

/**
 * JSON as Kotlin values: maps in the file's order, lists, strings, doubles, booleans, null.
 *
 * A class of its own, since the JVM has none and Android's is not there in tests.
 */
class Json private constructor(private val text: String) {
    private var at = 0

    private fun document(): Any? {
        val value = value(0)
        blank()
        if (at != text.length) fail("something follows the document")
        return value
    }

    private fun value(depth: Int): Any? {
        if (depth > DEEPEST) fail("nested too deeply")
        blank()
        if (at == text.length) fail("the end comes too soon")
        return when (text[at]) {
            '{' -> members(depth)
            '[' -> elements(depth)
            '"' -> string()
            't' -> word("true", true)
            'f' -> word("false", false)
            'n' -> word("null", null)
            else -> number()
        }
    }

    private fun members(depth: Int): Map<String, Any?> {
        val found = LinkedHashMap<String, Any?>()
        list('}') {
            blank()
            if (at == text.length || text[at] != '"') fail("a name is missing")
            val name = string()
            blank()
            take(':')
            found[name] = value(depth + 1)
        }
        return found
    }

    private fun elements(depth: Int): List<Any?> {
        val found = ArrayList<Any?>()
        list(']') { found.add(value(depth + 1)) }
        return found
    }

    private fun list(end: Char, one: () -> Unit) {
        at++
        blank()
        if (at < text.length && text[at] == end) {
            at++
            return
        }
        while (true) {
            one()
            blank()
            if (at < text.length && text[at] == ',') {
                at++
                continue
            }
            take(end)
            return
        }
    }

    private fun string(): String {
        at++
        val made = StringBuilder()
        while (at < text.length && text[at] != '"') {
            val next = text[at++]
            made.append(if (next == '\\') escaped() else next)
        }
        take('"')
        return made.toString()
    }

    private fun escaped(): Char {
        if (at == text.length) fail("an escape has no end")
        return when (val kind = text[at++]) {
            'n' -> '\n'
            't' -> '\t'
            'r' -> '\r'
            'b' -> '\b'
            'f' -> '\u000c'
            'u' -> {
                val code = if (at + 4 <= text.length) text.substring(at, at + 4).toIntOrNull(16) else null
                at += 4
                code?.toChar() ?: fail("an escape is no character")
            }
            '"', '\\', '/' -> kind
            else -> fail("an escape is unknown")
        }
    }

    private fun number(): Double {
        val start = at
        while (at < text.length && text[at] in NUMERIC) at++
        return text.substring(start, at).toDoubleOrNull() ?: fail("no value can be read")
    }

    private fun word(word: String, value: Any?): Any? {
        if (!text.startsWith(word, at)) fail("no value can be read")
        at += word.length
        return value
    }

    private fun take(expected: Char) {
        if (at == text.length || text[at] != expected) fail("'$expected' is missing")
        at++
    }

    private fun blank() {
        while (at < text.length && text[at] in " \t\r\n") at++
    }

    private fun fail(problem: String): Nothing = throw BundleException("not JSON: $problem, at character $at")

    companion object {
        private const val DEEPEST = 100
        private const val NUMERIC = "+-.0123456789eE"

        /** Throws [BundleException] where the text is no JSON. */
        fun parse(text: String): Any? = Json(text).document()
    }
}

/** A sentence that says what is wrong with a bundle or an input, and where. */
class BundleException(message: String) : Exception(message)

/** A JSON object with the types that its reader expects; the message names what is missing. */
class Fields(private val values: Map<String, Any?>, private val where: String) {
    val names: Set<String> get() = values.keys

    fun isNull(name: String): Boolean = values[name] == null

    fun string(name: String): String = typed(name)

    fun flag(name: String): Boolean = typed(name)

    fun number(name: String): Double = typed(name)

    fun int(name: String): Int {
        val number = number(name)
        if (number != Math.rint(number) || Math.abs(number) > Int.MAX_VALUE) throw wrong(name)
        return number.toInt()
    }

    fun fields(name: String): Fields {
        val inner: Map<*, *> = typed(name)
        return Fields(inner.entries.associate { it.key as String to it.value }, "$where, $name")
    }

    fun objects(name: String): List<Fields> = list<Map<String, Any?>>(name).map { Fields(it, "$where, $name") }

    fun strings(name: String): List<String> = list(name)

    fun numbers(name: String): List<Double> = list(name)

    fun ints(name: String): List<Int> = numbers(name).map { it.toInt() }

    fun raw(name: String): Any? = values[name]

    private inline fun <reified T> list(name: String): List<T> {
        val found: List<*> = typed(name)
        return found.map { it as? T ?: throw wrong(name) }
    }

    private inline fun <reified T> typed(name: String): T = values[name] as? T ?: throw wrong(name)

    private fun wrong(name: String): BundleException {
        val problem = if (name in values) "'$name' is not what this app reads: ${values[name]}" else "'$name' is missing"
        return BundleException("$where: ${problem.take(200)}")
    }

    companion object {
        /** The object in a file's text. */
        @Suppress("UNCHECKED_CAST")
        fun parse(text: String, where: String): Fields {
            val value = Json.parse(text) as? Map<String, Any?> ?: throw BundleException("$where holds no JSON object")
            return Fields(value, where)
        }
    }
}
