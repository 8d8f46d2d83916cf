import Foundation

/// Mono recordings of 16 bits in the WAVE format.
public enum Wav {
    /// Samples in [-1, 1); throws `BundleError` where the file is another kind or has another rate.
    public static func read(_ data: Data, rate: Int) throws -> [Float] {
        let bytes = [UInt8](data)
        guard bytes.count >= 12, name(bytes, 0) == "RIFF" else { throw BundleError("the file is no .wav recording") }
        var at = 12
        var seen = false
        while bytes.count - at >= 8 {
            let chunk = name(bytes, at)
            let start = at + 8
            let size = min(integer(bytes, at + 4, 4), bytes.count - start)
            if chunk == "fmt ", size >= 16 {
                try check(bytes, start, rate)
                seen = true
            } else if chunk == "data", seen, size > 1 {
                return (0..<(size / 2)).map { number in
                    let value = UInt16(integer(bytes, start + 2 * number, 2))
                    return Float(Int16(bitPattern: value)) / 32768
                }
            }
            at = min(bytes.count, start + size + size % 2)
        }
        throw BundleError("the recording holds no samples")
    }

    private static func check(_ bytes: [UInt8], _ start: Int, _ rate: Int) throws {
        let kind = integer(bytes, start, 2)
        let channels = integer(bytes, start + 2, 2)
        let found = integer(bytes, start + 4, 4)
        let bits = integer(bytes, start + 14, 2)
        guard kind == 1, channels == 1, bits == 16, found == rate else {
            throw BundleError(
                "the recording has \(channels) channel(s), \(bits) bits and \(found) Hz; the model takes one, 16 and \(rate) Hz"
            )
        }
    }

    private static func name(_ bytes: [UInt8], _ at: Int) -> String { String(decoding: bytes[at..<(at + 4)], as: UTF8.self) }

    private static func integer(_ bytes: [UInt8], _ at: Int, _ count: Int) -> Int {
        (0..<count).reduce(0) { $0 | Int(bytes[at + $1]) << (8 * $1) }
    }
}
