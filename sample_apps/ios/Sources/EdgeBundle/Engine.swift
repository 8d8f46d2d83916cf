import Foundation

/// A loaded model; tensors are in the model's own types.
public protocol Engine {
    func run(_ inputs: [String: Tensor]) throws -> [String: Tensor]
}

/// Between real numbers and a model's own types, by a bundle's signature.
public enum Scales {
    /// `round(real / scale) + zero point`, ties to even, where an input takes integers for reals.
    public static func quantized(_ arrays: [String: Tensor], _ specs: [Spec]) throws -> [String: Tensor] {
        var given: [String: Tensor] = [:]
        for spec in specs {
            guard let array = arrays[spec.name] else { throw BundleError("nothing was made for the input '\(spec.name)'") }
            given[spec.name] = try spec.scale.map { try quantized(array, spec, Float($0)) } ?? array
        }
        return given
    }

    private static func quantized(_ array: Tensor, _ spec: Spec, _ scale: Float) throws -> Tensor {
        let limits: ClosedRange<Double>
        switch spec.type {
        case .int8: limits = -128...127
        case .uint8: limits = 0...255
        case .int16: limits = -32768...32767
        default: throw BundleError("the input '\(spec.name)' stands for reals as \(spec.type.rawValue)")
        }
        let values = array.values.map { value -> Double in
            let step = Double((Float(value) / scale).rounded(.toNearestOrEven)) + Double(spec.zeroPoint)
            return min(limits.upperBound, max(limits.lowerBound, step))
        }
        return try Tensor(spec.type, array.shape, values)
    }

    /// `scale * (integer - zero point)`.
    public static func dequantized(_ outputs: [String: Tensor], _ specs: [Spec]) throws -> [String: Tensor] {
        var real: [String: Tensor] = [:]
        for spec in specs {
            guard let array = outputs[spec.name] else { throw BundleError("the model gave no '\(spec.name)'") }
            if let scale = spec.scale, array.type != .float32 {
                let values = array.values.map { Double(Float($0 - Double(spec.zeroPoint)) * Float(scale)) }
                real[spec.name] = try Tensor(.float32, array.shape, values)
            } else {
                real[spec.name] = array
            }
        }
        return real
    }
}

/// A class with its probability.
public struct Scored: Identifiable {
    public let label: String
    public let probability: Double

    public var id: String { label }
}

/// Classes by falling probability.
public func ranked(_ scores: Tensor, _ labels: [String]) -> [Scored] {
    guard let most = scores.values.max() else { return [] }
    let shares = scores.values.map { exp($0 - most) }
    let total = shares.reduce(0, +)
    return shares.enumerated()
        .map { Scored(label: $0.offset < labels.count ? labels[$0.offset] : "\($0.offset)", probability: $0.element / total) }
        .sorted { $0.probability > $1.probability }
}

private let numbersShown = 8

/// What a model without classes gives, such as a regression's values: the numbers as they are, the first of many.
public func numbers(_ output: Tensor) -> String {
    let shown = output.values.prefix(numbersShown).map { String(format: "%.4g", $0) }.joined(separator: "  ")
    return output.values.count > numbersShown ? "\(shown) …" : shown
}
