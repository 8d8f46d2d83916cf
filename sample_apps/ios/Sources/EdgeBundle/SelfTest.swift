import Foundation

/// Golden inputs through a model here, against the float32 source's outputs that travel in the bundle.
public struct SelfTest: CustomStringConvertible {
    public let samples: Int
    public let unlike: Int
    public let cosine: Double
    public let difference: Double

    /// Over all golden outputs as one vector. Integer models have above 0.99; inputs in a wrong order, a wrong layout or a
    /// runtime that computes something else are far below.
    public static let leastCosine = 0.95

    /// Near enough to float32; one sample in eight may fall on the other side of a close decision.
    public var passed: Bool { samples > 0 && unlike <= samples / 8 && cosine >= Self.leastCosine }

    public var description: String {
        let numbers = String(format: "cosine %.4f, greatest difference %.4g", cosine, difference)
        return "\(passed ? "PASS" : "FAIL"): \(samples) golden samples, \(unlike) predicted unlike float32, \(numbers)"
    }

    public static func run(_ bundle: ModelBundle, _ engine: Engine) throws -> SelfTest {
        let inputs = try bundle.golden("inputs")
        let wanted = try bundle.golden("outputs")
        guard inputs.count == wanted.count else { throw BundleError("golden inputs and outputs are not as many") }
        let found = try inputs.map { try Scales.dequantized(engine.run($0), bundle.outputs) }
        var unlike = 0
        if bundle.task == "classification", let first = bundle.outputs.first?.name {
            unlike = zip(found, wanted).filter { best($0[first]) != best($1[first]) }.count
        }
        let pairs = bundle.outputs.map { spec in
            (wanted.flatMap { $0[spec.name]?.values ?? [] }, found.flatMap { $0[spec.name]?.values ?? [] })
        }
        return SelfTest(
            samples: found.count,
            unlike: unlike,
            cosine: pairs.map { cosine($0.0, $0.1) }.min() ?? 0,
            difference: pairs.flatMap { zip($0.0, $0.1).map { abs($0 - $1) } }.max() ?? .infinity
        )
    }

    private static func best(_ scores: Tensor?) -> Int? {
        guard let values = scores?.values, let most = values.max() else { return nil }
        return values.firstIndex(of: most)
    }

    /// 0 where a value is not finite, so that NaN never passes.
    private static func cosine(_ a: [Double], _ b: [Double]) -> Double {
        guard a.count == b.count else { return 0 }
        func product(_ x: [Double], _ y: [Double]) -> Double { zip(x, y).map { $0 * $1 }.reduce(0, +) }
        let norms = product(a, a).squareRoot() * product(b, b).squareRoot()
        return norms > 0 && norms.isFinite ? product(a, b) / norms : 0
    }
}
