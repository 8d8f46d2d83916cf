import Foundation

/// Pictures to pixel values, by a manifest's `image` preprocessing: resize, crop, reorder, rescale, normalise.
public struct ImageFeatures {
    private let spec: Fields
    private let reversed: Bool
    private let last: Bool
    private let table: [[Float]]

    public init(_ spec: Fields) throws {
        self.spec = spec
        reversed = try spec.string("channels") == "BGR"
        last = try spec.string("layout") == "NHWC"
        table = try (0..<3).map { channel in try (0..<256).map { try Self.value(spec, channel, $0) } }
    }

    /// An array [1, 3, height, width] or [1, height, width, 3] by the input's name.
    public func encode(_ picture: Pixels) throws -> [String: Tensor] {
        let pixels = try cropped(resized(picture))
        let (width, height) = (pixels.width, pixels.height)
        var values = [Float](repeating: 0, count: 3 * width * height)
        for channel in 0..<3 {
            for y in 0..<height {
                for x in 0..<width {
                    let place = last ? 3 * (y * width + x) + channel : (channel * height + y) * width + x
                    values[place] = table[channel][pixels.at(x, y, reversed ? 2 - channel : channel)]
                }
            }
        }
        let shape = last ? [1, height, width, 3] : [1, 3, height, width]
        return [try spec.string("input"): try Tensor.floats(shape, values)]
    }

    /// What a byte becomes: in double up to the factor, in float after it, as Transformers computes.
    private static func value(_ spec: Fields, _ channel: Int, _ byte: Int) throws -> Float {
        var value = Float(byte)
        if !spec.isNull("rescale") { value = Float(Double(byte) * (try spec.number("rescale"))) }
        if !spec.isNull("mean") {
            value = (value - Float(try spec.numbers("mean")[channel])) / Float(try spec.numbers("std")[channel])
        }
        return value
    }

    private func resized(_ picture: Pixels) throws -> Pixels {
        if spec.isNull("resize") { return picture }
        let size: [Int]
        if spec.raw("resize") is NSArray {
            size = try spec.ints("resize").reversed()
        } else {
            size = shortest(try spec.int("resize"), picture)
        }
        return try PillowResize.resize(picture, size[0], size[1], spec.string("resample"))
    }

    /// Width and height whose shorter one is `edge`, in the picture's proportion.
    private func shortest(_ edge: Int, _ picture: Pixels) -> [Int] {
        let (width, height) = (picture.width, picture.height)
        if width <= height { return [edge, Int(Double(edge * height) / Double(width))] }
        return [Int(Double(edge * width) / Double(height)), edge]
    }

    /// About the centre; too small a picture gets black around it, the odd pixel before it.
    private func cropped(_ pixels: Pixels) throws -> Pixels {
        if spec.isNull("crop") { return pixels }
        let size = try spec.ints("crop")
        let (height, width) = (size[0], size[1])
        let left = offset(pixels.width, width)
        let top = offset(pixels.height, height)
        var made: [UInt8] = []
        for y in 0..<height {
            for x in 0..<width {
                let (column, row) = (x + left, y + top)
                let inside = (0..<pixels.width).contains(column) && (0..<pixels.height).contains(row)
                for channel in 0..<3 { made.append(inside ? UInt8(pixels.at(column, row, channel)) : 0) }
            }
        }
        return try Pixels(width: width, height: height, data: made)
    }

    private func offset(_ have: Int, _ want: Int) -> Int {
        have >= want ? (have - want) / 2 : -((want - have) - (want - have) / 2)
    }
}
