import Foundation

/// Element types that bundles use, by their names in a manifest.
public enum ElementType: String, CaseIterable {
    case float32, float16, int64, int32, int16, int8, uint8

    /// The name in a stream's index.
    var code: String {
        switch self {
        case .float32: return "<f4"
        case .float16: return "<f2"
        case .int64: return "<i8"
        case .int32: return "<i4"
        case .int16: return "<i2"
        case .int8: return "|i1"
        case .uint8: return "|u1"
        }
    }

    var bytes: Int {
        switch self {
        case .float32, .int32: return 4
        case .float16, .int16: return 2
        case .int64: return 8
        case .int8, .uint8: return 1
        }
    }

    static func labelled(_ label: String) throws -> ElementType {
        guard let type = ElementType(rawValue: label) else { throw BundleError("no tensor here is \(label)") }
        return type
    }

    static func coded(_ code: String) throws -> ElementType {
        guard let type = allCases.first(where: { $0.code == code }) else { throw BundleError("no tensor here is \(code)") }
        return type
    }
}

/// Values in C order. Doubles hold every type that a bundle has but the largest of int64, which no model here takes.
public struct Tensor: Equatable {
    public let type: ElementType
    public let shape: [Int]
    public let values: [Double]

    public init(_ type: ElementType, _ shape: [Int], _ values: [Double]) throws {
        guard shape.reduce(1, *) == values.count else {
            throw BundleError("\(values.count) values are no tensor of shape \(shape)")
        }
        self.type = type
        self.shape = shape
        self.values = values
    }

    public static func floats(_ shape: [Int], _ values: [Float]) throws -> Tensor {
        try Tensor(.float32, shape, values.map(Double.init))
    }

    /// Little-endian values from `offset` on.
    static func read(_ data: Data, at offset: Int, type: ElementType, shape: [Int], place: String) throws -> Tensor {
        let count = shape.reduce(1, *)
        guard offset + count * type.bytes <= data.count else {
            throw BundleError("\(place) is shorter than its index says")
        }
        let values = data.withUnsafeBytes { raw in
            (0..<count).map { number -> Double in
                let at = offset + number * type.bytes
                switch type {
                case .float32: return Double(Float(bitPattern: raw.loadUnaligned(fromByteOffset: at, as: UInt32.self)))
                case .float16: return half(raw.loadUnaligned(fromByteOffset: at, as: UInt16.self))
                case .int64: return Double(raw.loadUnaligned(fromByteOffset: at, as: Int64.self))
                case .int32: return Double(raw.loadUnaligned(fromByteOffset: at, as: Int32.self))
                case .int16: return Double(raw.loadUnaligned(fromByteOffset: at, as: Int16.self))
                case .int8: return Double(raw.loadUnaligned(fromByteOffset: at, as: Int8.self))
                case .uint8: return Double(raw.loadUnaligned(fromByteOffset: at, as: UInt8.self))
                }
            }
        }
        return try Tensor(type, shape, values)
    }

    /// By hand: Intel Macs have no `Float16`.
    private static func half(_ bits: UInt16) -> Double {
        let sign = bits & 0x8000 == 0 ? 1.0 : -1.0
        let exponent = Int(bits >> 10 & 0x1f)
        let fraction = Double(bits & 0x3ff) / 1024
        if exponent == 0x1f { return fraction == 0 ? sign * .infinity : .nan }
        return exponent == 0 ? sign * fraction * pow(2, -14) : sign * (1 + fraction) * pow(2, Double(exponent - 15))
    }
}
