package dev.edgeexport.sample.app

import ai.onnxruntime.OnnxJavaType
import ai.onnxruntime.OnnxTensor
import ai.onnxruntime.OrtEnvironment
import ai.onnxruntime.OrtSession
import ai.onnxruntime.TensorInfo
import dev.edgeexport.sample.Bundle
import dev.edgeexport.sample.BundleException
import dev.edgeexport.sample.Engine
import dev.edgeexport.sample.Tensor
import dev.edgeexport.sample.Type
import java.nio.ByteBuffer
import java.nio.ByteOrder
import org.tensorflow.lite.DataType
import org.tensorflow.lite.Interpreter

private const val THREADS = 4

/** The runtime that the bundle's model is for. */
fun openEngine(bundle: Bundle): Engine = when (bundle.format) {
    "onnx" -> OnnxEngine(bundle.read(bundle.artifact))
    "tflite" -> LiteRtEngine(bundle)
    else -> throw BundleException("the bundle's model is ${bundle.format}; this app runs onnx and tflite")
}

/** ONNX Runtime on the CPU. */
private class OnnxEngine(model: ByteArray) : Engine {
    private val environment = OrtEnvironment.getEnvironment()
    private val session: OrtSession

    init {
        val options = OrtSession.SessionOptions()
        options.setIntraOpNumThreads(THREADS)
        session = environment.createSession(model, options)
    }

    override fun run(inputs: Map<String, Tensor>): Map<String, Tensor> {
        val given = HashMap<String, OnnxTensor>()
        try {
            for ((name, tensor) in inputs) {
                val shape = LongArray(tensor.shape.size) { tensor.shape[it].toLong() }
                given[name] = OnnxTensor.createTensor(environment, tensor.bytes(), shape, javaType(tensor.type))
            }
            session.run(given).use { result -> return result.associate { it.key to copied(it.value as OnnxTensor) } }
        } finally {
            given.values.forEach { it.close() }
        }
    }

    override fun close() = session.close()

    private fun copied(value: OnnxTensor): Tensor {
        val info = value.info as TensorInfo
        val type = Type.values().find { javaType(it) == info.type }
            ?: throw BundleException("the model gives ${info.type}, which this app does not read")
        val tensor = Tensor(type, info.shape.map { it.toInt() })
        tensor.bytes().put(value.byteBuffer)
        return tensor
    }

    private fun javaType(type: Type): OnnxJavaType = when (type) {
        Type.FLOAT32 -> OnnxJavaType.FLOAT
        Type.INT64 -> OnnxJavaType.INT64
        Type.INT32 -> OnnxJavaType.INT32
        Type.INT16 -> OnnxJavaType.INT16
        Type.INT8 -> OnnxJavaType.INT8
        Type.UINT8 -> OnnxJavaType.UINT8
    }
}

/** LiteRT on the CPU; a model has one signature for each length that it takes. */
private class LiteRtEngine(bundle: Bundle) : Engine {
    private val interpreter: Interpreter

    init {
        val bytes = bundle.read(bundle.artifact)
        val model = ByteBuffer.allocateDirect(bytes.size).order(ByteOrder.nativeOrder())
        model.put(bytes)
        model.rewind()
        interpreter = Interpreter(model, Interpreter.Options().setNumThreads(THREADS))
        if (interpreter.signatureKeys.isEmpty()) throw BundleException("${bundle.artifact} has no signature; export it again")
    }

    override fun run(inputs: Map<String, Tensor>): Map<String, Tensor> {
        val key = interpreter.signatureKeys.find { fits(it, inputs) } ?: throw BundleException(
            "no signature of the model takes " + inputs.entries.joinToString { "${it.key} ${it.value.shape}" },
        )
        val outputs = interpreter.getSignatureOutputs(key).associateWith { name ->
            val tensor = interpreter.getOutputTensorFromSignature(name, key)
            Tensor(typed(tensor.dataType()), tensor.shape().toList())
        }
        val buffers = HashMap<String, Any>(outputs.mapValues { it.value.bytes() })
        interpreter.runSignature(HashMap<String, Any>(inputs.mapValues { it.value.bytes() }), buffers, key)
        return outputs
    }

    override fun close() = interpreter.close()

    private fun fits(key: String, inputs: Map<String, Tensor>): Boolean =
        interpreter.getSignatureInputs(key).all { name ->
            inputs[name]?.shape == interpreter.getInputTensorFromSignature(name, key).shape().toList()
        }

    private fun typed(type: DataType): Type = when (type) {
        DataType.FLOAT32 -> Type.FLOAT32
        DataType.INT64 -> Type.INT64
        DataType.INT32 -> Type.INT32
        DataType.INT16 -> Type.INT16
        DataType.INT8 -> Type.INT8
        DataType.UINT8 -> Type.UINT8
        else -> throw BundleException("the model gives $type, which this app does not read")
    }
}
