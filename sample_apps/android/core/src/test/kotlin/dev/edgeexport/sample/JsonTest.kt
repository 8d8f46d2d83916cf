package dev.edgeexport.sample

import org.junit.Assert.assertEquals
import org.junit.Assert.assertThrows
import org.junit.Test

class JsonTest {
    @Test
    fun valuesOfEveryKind() {
        val text = " {\"a\": [1, -2.5e3, true, false, null], \"b\\u00e9\\n\\\"\": {\"c\": \"\uD83D\uDE00\\ud83d\\ude00\"}, \"d\": []} "
        val expected = mapOf(
            "a" to listOf(1.0, -2500.0, true, false, null),
            "b\u00e9\n\"" to mapOf("c" to "\uD83D\uDE00\uD83D\uDE00"),
            "d" to emptyList<Any>(),
        )
        assertEquals(expected, Json.parse(text))
    }

    @Test
    fun whatIsNoJson() {
        val deep = "[".repeat(100_000)
        for (text in listOf("", "{", "[1,]", "{\"a\" 1}", "\"a", "\"\\q\"", "\"\\u00", "nul", "1 2", "--1", "{1: 2}", deep)) {
            assertThrows(text.take(10), BundleException::class.java) { Json.parse(text) }
        }
    }

    @Test
    fun whatIsMissingIsNamed() {
        val fields = Fields.parse("{\"size\": 1.5, \"name\": null}", "some.json")
        for ((name, read) in listOf<Pair<String, (String) -> Any?>>("size" to fields::int, "name" to fields::string, "no" to fields::flag)) {
            val error = assertThrows(BundleException::class.java) { read(name) }
            assertEquals(true, error.message!!.startsWith("some.json: '$name' is"))
        }
    }
}
