package dev.edgeexport.sample.app

import android.app.Activity
import android.content.Intent
import android.net.Uri
import android.os.Bundle as State
import android.view.View
import android.widget.Button
import android.widget.EditText
import android.widget.TextView
import dev.edgeexport.sample.Bundle
import dev.edgeexport.sample.SelfTest
import java.util.concurrent.Executors

/** One screen: what the bundle is, a text or a file to classify, and the self-test. */
class MainActivity : Activity() {
    private val worker = Executors.newSingleThreadExecutor()
    private var classifier: Classifier? = null

    override fun onCreate(state: State?) {
        super.onCreate(state)
        setContentView(R.layout.main)
        button(R.id.classify) { classify() }
        button(R.id.choose) { choose() }
        button(R.id.test) { work { SelfTest.run(it.bundle, it.engine).toString() } }
        worker.execute {
            try {
                val bundle = Bundle.open(AssetFiles(assets, "bundle"))
                val made = Classifier(bundle, openEngine(bundle))
                runOnUiThread { show(made) }
            } catch (error: Exception) {
                runOnUiThread { text(R.id.about).text = error.message ?: error.toString() }
            }
        }
    }

    override fun onDestroy() {
        worker.execute { classifier?.engine?.close() }
        worker.shutdown()
        super.onDestroy()
    }

    @Deprecated("The newer way needs a library, which this app does without.")
    override fun onActivityResult(request: Int, result: Int, data: Intent?) {
        super.onActivityResult(request, result, data)
        val place: Uri = data?.data ?: return
        if (request == CHOOSE && result == RESULT_OK) work { it.file(contentResolver, place) }
    }

    private fun show(made: Classifier) {
        classifier = made
        val bundle = made.bundle
        val classes = if (bundle.task == "classification") ", ${bundle.labels.size} classes" else ""
        text(R.id.about).text = "${bundle.artifact}, ${bundle.task}$classes"
        visible(R.id.first, made.texts != null)
        visible(R.id.second, made.texts?.count == 2)
        visible(R.id.classify, made.texts != null)
        visible(R.id.choose, made.media != null)
        visible(R.id.test, true)
    }

    private fun classify() {
        val count = classifier?.texts?.count ?: return
        val given = listOf(R.id.first, R.id.second).take(count).map { findViewById<EditText>(it).text.toString() }
        work { it.text(given) }
    }

    private fun choose() {
        val intent = Intent(Intent.ACTION_OPEN_DOCUMENT)
        intent.addCategory(Intent.CATEGORY_OPENABLE)
        intent.type = classifier?.media ?: return
        @Suppress("DEPRECATION")
        startActivityForResult(intent, CHOOSE)
    }

    /** Off the main thread; what it gives or why it failed is shown. */
    private fun work(task: (Classifier) -> String) {
        val ready = classifier ?: return
        text(R.id.result).text = ""
        worker.execute {
            val said = try {
                task(ready)
            } catch (error: Exception) {
                error.message ?: error.toString()
            }
            runOnUiThread { text(R.id.result).text = said }
        }
    }

    private fun text(id: Int): TextView = findViewById(id)

    private fun button(id: Int, pressed: () -> Unit) = findViewById<Button>(id).setOnClickListener { pressed() }

    private fun visible(id: Int, shown: Boolean) {
        findViewById<View>(id).visibility = if (shown) View.VISIBLE else View.GONE
    }

    private companion object {
        const val CHOOSE = 1
    }
}
