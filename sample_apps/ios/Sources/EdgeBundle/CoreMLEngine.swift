import CoreML
import CoreVideo
import Foundation

/// The bundle's `.mlpackage` by Core ML, compiled on the device.
public final class CoreMLEngine: Engine {
    private let model: MLModel
    private let outputs: [Spec]

    public static func load(_ bundle: ModelBundle) async throws -> CoreMLEngine {
        guard bundle.format == "coreml" else {
            throw BundleError("the bundle's model is \(bundle.format); this app runs coreml")
        }
        let compiled = try await MLModel.compileModel(at: bundle.folder.appendingPathComponent(bundle.artifact))
        return CoreMLEngine(try MLModel(contentsOf: compiled), bundle.outputs)
    }

    private init(_ model: MLModel, _ outputs: [Spec]) {
        self.model = model
        self.outputs = outputs
    }

    public func run(_ inputs: [String: Tensor]) throws -> [String: Tensor] {
        var given: [String: MLFeatureValue] = [:]
        for (name, description) in model.modelDescription.inputDescriptionsByName {
            guard let tensor = inputs[name] else { throw BundleError("nothing was made for the input '\(name)'") }
            if description.type == .image {
                given[name] = MLFeatureValue(pixelBuffer: try pixelBuffer(tensor))
            } else {
                given[name] = MLFeatureValue(multiArray: try multiArray(tensor, description))
            }
        }
        let result = try model.prediction(from: MLDictionaryFeatureProvider(dictionary: given))
        var found: [String: Tensor] = [:]
        for spec in outputs {
            // A classifier's label is a text beside its scores; only arrays are in the signature.
            guard let array = result.featureValue(for: spec.name)?.multiArrayValue else { continue }
            found[spec.name] = try tensor(array)
        }
        return found
    }

    private func multiArray(_ tensor: Tensor, _ description: MLFeatureDescription) throws -> MLMultiArray {
        let type = description.multiArrayConstraint?.dataType ?? .float32
        let array = try MLMultiArray(shape: tensor.shape.map { NSNumber(value: $0) }, dataType: type)
        // A new array is laid out in C order, which a plain index follows.
        for (index, value) in tensor.values.enumerated() { array[index] = NSNumber(value: value) }
        return array
    }

    private func tensor(_ array: MLMultiArray) throws -> Tensor {
        let shaped = MLShapedArray<Float>(converting: array) // heeds the strides that Core ML gives its own arrays
        return try Tensor.floats(shaped.shape, Array(shaped.scalars))
    }

    /// [1, 3, height, width] values of 0 to 255 as Core ML takes pictures; the model itself normalises them.
    private func pixelBuffer(_ tensor: Tensor) throws -> CVPixelBuffer {
        guard tensor.shape.count == 4, tensor.shape[1] == 3 else {
            throw BundleError("a tensor of shape \(tensor.shape) is no picture")
        }
        let (height, width) = (tensor.shape[2], tensor.shape[3])
        var made: CVPixelBuffer?
        CVPixelBufferCreate(nil, width, height, kCVPixelFormatType_32BGRA, nil, &made)
        guard let buffer = made else { throw BundleError("there is no memory for a picture") }
        CVPixelBufferLockBaseAddress(buffer, [])
        defer { CVPixelBufferUnlockBaseAddress(buffer, []) }
        guard let base = CVPixelBufferGetBaseAddress(buffer)?.assumingMemoryBound(to: UInt8.self) else {
            throw BundleError("there is no memory for a picture")
        }
        let row = CVPixelBufferGetBytesPerRow(buffer)
        for y in 0..<height {
            for x in 0..<width {
                for channel in 0..<3 {
                    base[y * row + 4 * x + 2 - channel] = UInt8(tensor.values[(channel * height + y) * width + x])
                }
                base[y * row + 4 * x + 3] = 255
            }
        }
        return buffer
    }
}
