package dev.edgeexport.sample.app

import android.content.res.AssetManager
import dev.edgeexport.sample.Files
import java.io.InputStream

/** A bundle in the app's assets. */
class AssetFiles(private val assets: AssetManager, private val folder: String) : Files {
    override fun open(name: String): InputStream = assets.open("$folder/$name")
}
